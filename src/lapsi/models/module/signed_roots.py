"""Roots of many outputs: what those that matter hold of S, and the rest of it together, by random signs.

    S = S_·s S_ss⁺ S_s· + F Fᵀ,   F Fᵀ = E (F ε)(F ε)ᵀ,   ε = ±1

so that nothing is left out: the rest is right on average over the signs (Hutchinson 1990), and two halves of the drawings tell
how far it may be off. Legend of the indices: n sample, a output, s those that matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.module.roots import ENTRIES, ROUNDING, Directions, Needed, Roots

MATTERS = 1 / 64  # of the trace of S, from which an output does
ROW_SEEDS = 2**20  # between the seeds of two drawings


@final
@dataclass(frozen=True, slots=True)
class SignedRoots(Roots):
    """The residual, which is none of the roots; roots of what the outputs hold that matter; and drawn ones.

    Attributes:
        left_out: share of the trace of S below which no more outputs matter, however much each of them holds.
        draws: of signs.
        seed: of them.
        most: outputs of a sample that matter, as seen.
    """

    left_out: float
    draws: int
    seed: int
    most: int

    @property
    def is_drawn(self) -> bool:
        return True

    def n_directions(self, n_outputs: int) -> int:
        return 1 + self.most + self.draws

    def directions(self, likelihood: Likelihood, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        state = likelihood.state(outputs.detach().double())
        own, among = _held(likelihood, state, self.left_out)
        drawn = [
            likelihood.remaining_root_times(state, among, self._signs(rows, draw, state.shape[1]).to(state) / self.draws**0.5)
            for draw in range(self.draws)
        ]
        one = state.new_ones(len(state))
        vectors = [likelihood.residual(state, targets), *own.unbind(2), *drawn]
        return Directions(vectors, one, torch.zeros_like(one), self.draws)

    def _signs(self, rows: Tensor, draw: int, n_outputs: int) -> Tensor:
        """±1 (n, K), for a sample and a drawing the same in every batch."""
        drawn = [
            torch.randint(2, (n_outputs,), generator=torch.Generator().manual_seed(seed))
            for seed in seeds_of(rows, self.draws, draw, self.seed)
        ]
        return 2 * torch.stack(drawn) - 1


def outputs_needed(likelihood: Likelihood, outputs: Tensor, left_out: float) -> Needed:
    """How many outputs of each sample matter in `SignedRoots`, and what is drawn of S."""
    counts, beyond = [], []
    for some in outputs.split(max(1, round(ENTRIES * MATTERS) // outputs.shape[1])):
        state = likelihood.state(some.detach().double())
        own, among = _held(likelihood, state, left_out)
        variance = likelihood.variance(state)
        rest = (variance - own.square().sum(2)).masked_fill(among, 0.0).clamp(min=0.0).sum(1)
        counts.append(among.sum(1))
        beyond.append(rest / variance.sum(1).clamp(min=torch.finfo(torch.float64).tiny))
    return Needed(torch.cat(counts), torch.cat(beyond))


def seeds_of(rows: Tensor, draws: int, draw: int, seed: int) -> list[int]:
    """Of a drawing, one a sample of `rows` (n,)."""
    return [seed + ROW_SEEDS * (int(row) * draws + draw) for row in rows]


def _held(likelihood: Likelihood, state: Tensor, left_out: float) -> tuple[Tensor, Tensor]:
    """Roots (n, K, s) of S_·s S_ss⁺ S_s·, and which outputs matter (n, K)."""
    variance = likelihood.variance(state)
    trace = variance.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    shares, order = (variance / trace).topk(min(round(1 / MATTERS), variance.shape[1]), dim=1)
    before = torch.nn.functional.pad(1 - shares.cumsum(1)[:, :-1], (1, 0), value=1.0)
    matter = (shares > MATTERS) & (before > left_out)
    count = int(matter.sum(1).max())
    chosen, own = order[:, :count], matter[:, :count].double()
    unit = torch.zeros_like(state)
    columns = [
        likelihood.residual_derivative(state, unit.scatter(1, chosen[:, place : place + 1], own[:, place : place + 1]))
        for place in range(count)
    ]
    among = torch.zeros_like(state, dtype=torch.bool).scatter_(1, chosen, matter[:, :count])
    if not columns:
        return state.new_empty(*state.shape, 0), among
    found = torch.stack(columns, 2)
    inner = found.gather(1, chosen[:, :, None].expand(-1, -1, count)) * own[:, :, None]
    values, vectors = torch.linalg.eigh(inner)
    kept = values > ROUNDING * values[:, -1:]
    return found @ (vectors * torch.where(kept, values, torch.inf).rsqrt()[:, None]), among
