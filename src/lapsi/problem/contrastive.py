"""Pairs that are told from all others: symmetric InfoNCE of two linear projections (docs/math.md, Pairs).

With s_jk = û_jᵀv̂_k/τ, p = softmax over k of the rows, q = softmax over j of the columns,
    loss_j = ½ [−ln p_jj − ln q_jj],   ∂ Σ loss/∂s = G = ½ (p + q) − I.
Leaving pair i out takes row i and column i away: every other pair loses a negative.

Legend of the indices: j k pair, e dimension of the space, d feature of a tower.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lapsi.models.towers import Towers, Units, UnitsChange, units
from lapsi.problem.base import DescentProblem
from lapsi.problem.objective import Objective

LOG_SECOND, LOG_FIRST, RANK_SECOND, RANK_FIRST, COSINE = range(5)  # of `outputs`
N_OUTPUTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class PairPasses:
    """Both passes over some pairs (n).

    Attributes:
        first, second: unit vectors û, v̂.
        rows, columns: p, q (n, n).
        gradient: G (n, n).
        pulls: ∂ Σ loss/∂û and ∂/∂v̂ (n, E).
        losses: (n,), nats.
    """

    first: Units
    second: Units
    rows: Tensor
    columns: Tensor
    gradient: Tensor
    pulls: tuple[Tensor, Tensor]
    losses: Tensor

    def to(self, dtype: torch.dtype) -> PairPasses:
        """In another dtype."""
        if dtype == self.rows.dtype:
            return self
        rows, columns, gradient = self.rows.to(dtype), self.columns.to(dtype), self.gradient.to(dtype)
        pulls = self.pulls[0].to(dtype), self.pulls[1].to(dtype)
        return PairPasses(self.first.to(dtype), self.second.to(dtype), rows, columns, gradient, pulls, self.losses)


@final
@dataclass(frozen=True, slots=True, eq=False)
class ContrastiveProblem(DescentProblem):
    """N pairs.

    Attributes:
        first, second: features (N, D) float64 of both towers, their last column 1.
        model: shapes of the projections.
        temperature: τ.
        objective: weight decay, prior and removal convention.
        removed: (r,) the pairs that have left, or None.
        weights: None: each pair counts once.
    """

    first: Tensor
    second: Tensor
    model: Towers
    temperature: float
    objective: Objective
    removed: Tensor | None = None
    weights: None = None

    @property
    def n_samples(self) -> int:
        """Pairs that are there."""
        return len(self.first) - (0 if self.removed is None else len(self.removed))

    @property
    def total(self) -> float:
        """Their number."""
        return float(self.n_samples)

    @property
    def device(self) -> torch.device:
        """Of the data."""
        return self.first.device

    @property
    def n_outputs(self) -> int:
        """What `outputs` tells of a pair."""
        return N_OUTPUTS

    @property
    def there(self) -> Tensor:
        """(n,) the pairs that are there."""
        kept = torch.ones(len(self.first), dtype=torch.bool, device=self.device)
        if self.removed is not None:
            kept[self.removed] = False
        return kept.nonzero().flatten()

    def remove(self, rows: Tensor) -> ContrastiveProblem:
        """The problem of a training without the pairs `rows` (g,): a mask, the data are shared."""
        removed = rows if self.removed is None else torch.cat([self.removed, rows])
        return replace(self, removed=removed, objective=self.objective.without(self.total, float(len(rows))))

    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 where training starts, on the device of the data."""
        return self.model.initial(seed).to(self.device)

    def units(self, params: Tensor, rows: slice | Tensor) -> tuple[Units, Units]:
        """Unit vectors of pairs `rows` under params (P,)."""
        first, second = self.model.projections(params)
        return units(self.first[rows] @ first.T), units(self.second[rows] @ second.T)

    def forward_backward(self, params: Tensor, rows: slice | Tensor) -> PairPasses:
        """Both passes over pairs `rows` alone under params (P,)."""
        first, second = self.units(params, rows)
        return pair_passes(first, second, self.temperature)

    def gradient(self, passes: PairPasses, rows: slice | Tensor) -> Tensor:
        """Of the sum of the losses of pairs `rows` alone (P,), in the dtype of the passes."""
        first, second = passes.first.pull_back(passes.pulls[0]), passes.second.pull_back(passes.pulls[1])
        return self.model.join(first.T @ self.first[rows], second.T @ self.second[rows])

    def gradient_sum(self, params: Tensor, rows: slice | Tensor, clip_norm: float | None) -> Tensor:
        """Gradient (P,) of the sum of the losses of pairs `rows` alone; pairs have none of their own that could be clipped."""
        assert clip_norm is None
        return self.gradient(self.forward_backward(params, rows), rows)

    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """(n, 5) of pairs `rows` (n,), there or not, each told from all that are there.

        ln p of the second given the first and the other way round; the rank of the second among those of all pairs by the
        first, from 1, and the other way round; the cosine.
        """
        there = self.there
        everyone, own = self.units(params, there), self.units(params, rows)
        itself = rows[:, None] == there
        cosine = (own[0].value * own[1].value).sum(1)
        log_second, rank_second = _told(own[0].value @ everyone[1].value.T, cosine, itself, self.temperature)
        log_first, rank_first = _told(own[1].value @ everyone[0].value.T, cosine, itself, self.temperature)
        return torch.stack([log_second, log_first, rank_second, rank_first, cosine], 1)

    def own_outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """The same of pair rows[b] (B,) under params[b] (B, P): (B, 5)."""
        return torch.cat([self.outputs(each, rows[b : b + 1]) for b, each in enumerate(params)])

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """ℓ (n,) of pairs with `outputs` (n, 5)."""
        return -(outputs[:, LOG_SECOND] + outputs[:, LOG_FIRST]) / 2

    def combine(self, outputs: Tensor) -> Tensor:
        """(n, 5) of several models together, of the outputs (S, n, 5) of each: mean probabilities, ranks and cosines."""
        logs = outputs[..., :RANK_SECOND].logsumexp(0) - torch.tensor(float(len(outputs))).log()
        return torch.cat([logs, outputs[..., RANK_SECOND:].mean(0)], 1)


def pair_passes(first: Units, second: Units, temperature: float) -> PairPasses:
    """Both passes over pairs of unit vectors."""
    similarity = first.value @ second.value.T / temperature
    rows, columns = similarity.log_softmax(1), similarity.log_softmax(0)
    losses = -(rows.diagonal() + columns.diagonal()) / 2
    rows, columns = rows.exp_(), columns.exp_()
    gradient = (rows + columns) / 2
    gradient.diagonal().sub_(1)
    pulls = gradient @ second.value / temperature, gradient.T @ first.value / temperature
    return PairPasses(first, second, rows, columns, gradient, pulls, losses)


def pull_changes(
    passes: PairPasses, first: UnitsChange, second: UnitsChange, temperature: float, without: int | None
) -> tuple[Tensor, Tensor]:
    """Changes of ∂ Σ loss/∂u and ∂/∂v (n, E) when the unit vectors change, and where a pair leaves.

    Δs = (Δû v̂ᵀ + û′ Δv̂ᵀ)/τ; p′ = p e^Δs/(1 + Σ_k p e^Δs − 1), so Δp = p (ε − a)/(1 + a) with ε = e^Δs − 1, a = Σ_k p ε;
    where a pair leaves Δs = −∞ in its row and column.

    Args:
        passes: of all n pairs.
        first, second: of unit vectors.
        temperature: τ.
        without: position of the pair that leaves.
    """
    moved_first, moved_second = passes.first.value + first.value, passes.second.value + second.value
    growth = torch.cat([first.value, moved_first], 1) @ torch.cat([passes.second.value, second.value], 1).T
    growth = growth.div_(temperature).expm1_()
    if without is not None:
        growth[without] = -1
        growth[:, without] = -1
    change = _softmax_change(passes.rows, growth, 1, without)
    change += _softmax_change(passes.columns, growth, 0, without)
    change *= 0.5
    if without is not None:
        change[without, without] += 1
    return (
        passes.first.pull_back_change(
            first,
            passes.pulls[0],
            torch.addmm(change @ moved_second, passes.gradient, second.value).div_(temperature),
        ),
        passes.second.pull_back_change(
            second,
            passes.pulls[1],
            torch.addmm(change.T @ moved_first, passes.gradient.T, first.value).div_(temperature),
        ),
    )


def _softmax_change(weights: Tensor, growth: Tensor, axis: int, without: int | None) -> Tensor:
    """p (ε − a)/(1 + a), a = Σ p ε along an axis; the sum of what has left is taken to stay."""
    moved = weights * growth
    mean = moved.sum(axis, keepdim=True)
    if without is not None:
        mean.select(1 - axis, without).zero_()
    return moved.addcmul_(weights, mean, value=-1).div_(1 + mean)


def _told(cosines: Tensor, own: Tensor, itself: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """ln p and rank (n,) of pairs by their `own` cosine (n,) among `cosines` (n, M) with all; `itself` (n, M) is left out."""
    others = cosines.masked_fill(itself, -torch.inf)
    rank = 1 + (others > own[:, None]).sum(1)
    whole = torch.cat([others, own[:, None]], 1) / temperature
    return own / temperature - whole.logsumexp(1), rank.double()
