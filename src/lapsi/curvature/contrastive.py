"""Laplace posterior of two projections under a contrastive loss: the GGN through the whole similarity matrix.

Row j of s has the Hessian diag(p_j) − p_jp_jᵀ, column k diag(q_k) − q_kq_kᵀ, times ½ (docs/math.md, Pairs). With
ρ_j = 1/(τ‖u_j‖) the gradient of s_jk in u_j is g_jk = ρ_j (v̂_k − û_jc_jk), c_jk = û_jᵀv̂_k; the second tower mirrors that.

Legend of the indices: j sample of the tower, k of the other one, e f dimension of the space, d feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature, told_not_positive
from lapsi.models.towers import Units
from lapsi.precision.base import Precision, Terms, joined
from lapsi.precision.block_diag import LaplacePosterior
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.precision.full import FullPrecision
from lapsi.precision.kron import kron_precision
from lapsi.problem.contrastive import ContrastiveProblem, PairPasses
from lapsi.problem.removed import LSI_IMAGE, LSI_TEXT, Removed

BLOCK_BYTES = 64 * 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class ContrastiveCurvature(Curvature):
    """Both posteriors summed at their own parameters: nothing is held or linearised.

    Attributes:
        problem: with all pairs.
        structure: `"diag"`, `"kfac"` (a tower) or `"full"`.
        kind: of the divergence.
    """

    problem: ContrastiveProblem
    structure: str
    kind: Divergence = KULLBACK_LEIBLER

    @property
    def form(self) -> str:
        return EXACT

    def by(self, kind: Divergence) -> Self:
        return replace(self, kind=kind)

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return self

    def divergence(self, removed: Removed) -> Terms:
        """Also of each tower alone, the other one held."""
        with told_not_positive(self.structure):
            whole = contrastive_posterior(self.problem, removed.params, self.structure)
            pairs = zip(removed.units, removed.shift.double(), strict=True)
            return joined([self._one(whole, unit, removed.params, shift) for unit, shift in pairs])

    def _one(self, whole: LaplacePosterior, unit: Tensor, params: Tensor, shift: Tensor) -> Terms:
        without = contrastive_posterior(self.problem.remove(unit), params + shift, self.structure)
        sizes = self.problem.model.sizes
        before, after = (_by_tower(posterior, sizes) for posterior in (whole, without))
        first, second = before.divergences_by_block(shift, after, self.kind)
        terms = whole.divergence_from(shift, without, self.kind)
        return Terms(terms.mean, terms.curvature, {LSI_IMAGE: first.total, LSI_TEXT: second.total})


def contrastive_posterior(problem: ContrastiveProblem, params: Tensor, structure: str) -> LaplacePosterior:
    """The posterior of the pairs that are there, at params (P,) float64.

    kfac: Λ = N·B̄ ⊗ Ā + δI a tower, B̄ the mean over its samples of what each says of its own projection.
    """
    there, prior = problem.there, problem.objective.prior(problem.total)
    passes = problem.forward_backward(params, there)
    towers = _towers(problem, passes, there)
    if structure == "full":
        dense = _dense_ggn(*towers, passes)
        dense.diagonal().add_(prior)
        return LaplacePosterior((FullPrecision(dense, 0.0, 0.0),), (problem.model.n_params,))
    blocks: tuple[Precision[Any], ...]
    if structure == "diag":
        blocks = tuple(DiagPrecision(tower.diagonal().flatten() + prior) for tower in towers)
    else:
        blocks = tuple(
            kron_precision(tower.output_factor() / problem.total, tower.features.T @ tower.features, prior) for tower in towers
        )
    return LaplacePosterior(blocks, problem.model.sizes)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Tower:
    """One tower, as it sees the other.

    Attributes:
        features: a (N, D).
        scale: ρ (N, 1).
        own, others: û, v̂ (N, E).
        cosines: c (N, N), own by other.
        towards, from_others: softmax over the others (p), and over its own samples (q), both own by other.
    """

    features: Tensor
    scale: Tensor
    own: Tensor
    others: Tensor
    cosines: Tensor
    towards: Tensor
    from_others: Tensor

    def diagonal(self) -> Tensor:
        """(E, D): ½ Σ_j a_jd² [Σ_k (p + q) g² − (Σ_k p g)²] − ½ Σ_k (Σ_j q g_e a_d)²."""
        squares = self._square_sum(self.towards + self.from_others) - self._mean_pull().square()
        return (squares.T @ self.features.square() - self._column_squares()) / 2

    def output_factor(self) -> Tensor:
        """(E, E): Σ_j of ½ [Σ_k (p + q − q²) g gᵀ − ḡ ḡᵀ], ḡ = Σ_k p g."""
        weights = self.scale.square() * (self.towards + self.from_others - self.from_others.square())
        turned = weights * self.cosines
        cross = self.own.T @ (turned @ self.others)
        outer = (self.others * weights.sum(0)[:, None]).T @ self.others - cross - cross.T
        outer += (self.own * (turned * self.cosines).sum(1, keepdim=True)).T @ self.own
        mean = self._mean_pull()
        return (outer - mean.T @ mean) / 2

    def _square_sum(self, weights: Tensor) -> Tensor:
        """Σ_k w_jk g_jke² (N, E)."""
        turned = weights * self.cosines
        squares = weights @ self.others.square() - 2 * self.own * (turned @ self.others)
        squares += self.own.square() * (turned * self.cosines).sum(1, keepdim=True)
        return self.scale.square() * squares

    def _mean_pull(self) -> Tensor:
        """Σ_k p_jk g_jke (N, E)."""
        along = (self.towards * self.cosines).sum(1, keepdim=True)
        return self.scale * (self.towards @ self.others - self.own * along)

    def _column_squares(self) -> Tensor:
        """Σ_k (Σ_j q_jk g_jke a_jd)² (E, D), some dimensions at a time."""
        weights = self.scale * self.from_others
        straight, turned = weights.T @ self.features, (weights * self.cosines).T
        (n, n_features), n_dimensions = self.features.shape, self.own.shape[1]
        size = max(1, BLOCK_BYTES // (8 * n * n_features))
        total = self.features.new_empty(n_dimensions, n_features)
        for part in torch.arange(n_dimensions, device=total.device).split(size):
            along = self.own[:, part, None] * self.features[:, None, :]
            sums = (turned @ along.flatten(1)).view(n, len(part), n_features)
            sums.sub_(self.others[:, part, None] * straight[:, None, :])
            total[part] = sums.square_().sum(0)
        return total


def _towers(problem: ContrastiveProblem, passes: PairPasses, there: Tensor) -> tuple[_Tower, _Tower]:
    first, second = passes.first, passes.second
    cosines = first.value @ second.value.T

    def tower(features: Tensor, own: Units, others: Units, *between: Tensor) -> _Tower:
        return _Tower(features[there], own.inverse / problem.temperature, own.value, others.value, *between)

    return (
        tower(problem.first, first, second, cosines, passes.rows, passes.columns),
        tower(problem.second, second, first, cosines.T, passes.columns.T, passes.rows.T),
    )


def _by_tower(posterior: LaplacePosterior, sizes: tuple[int, int]) -> LaplacePosterior:
    """Of each tower alone: blocks as they are, or those of the whole matrix."""
    if len(posterior.blocks) == len(sizes):
        return posterior
    (whole,) = posterior.blocks
    dense, first = whole.to_dense(), sizes[0]
    blocks = FullPrecision(dense[:first, :first], 0.0, 0.0), FullPrecision(dense[first:, first:], 0.0, 0.0)
    return LaplacePosterior(blocks, sizes)


def _dense_ggn(first: _Tower, second: _Tower, passes: PairPasses) -> Tensor:
    """(P, P), row by row and column by column of the similarities, each centred about its mean."""
    pulls_first = first.scale[:, :, None] * (first.others - first.own[:, None, :] * first.cosines[:, :, None])
    pulls_second = second.scale[:, :, None] * (second.others - second.own[:, None, :] * second.cosines[:, :, None])
    n = len(first.features)
    size = first.own.shape[1] * (first.features.shape[1] + second.features.shape[1])
    total = first.features.new_zeros(size, size)
    for number in range(n):
        own, theirs = pulls_first[number], pulls_second[:, number]
        row = torch.cat([_outer(own, first.features[number]), _outer(theirs, second.features)], 1)
        own, theirs = pulls_first[:, number], pulls_second[number]
        column = torch.cat([_outer(own, first.features), _outer(theirs, second.features[number])], 1)
        for jacobian, weights in ((row, passes.rows[number]), (column, passes.columns[:, number])):
            root = weights.sqrt()[:, None] * (jacobian - weights @ jacobian)
            total.addmm_(root.T, root, alpha=0.5)
    return total


def _outer(pulls: Tensor, features: Tensor) -> Tensor:
    """(n, E·D) of pulls (n, E) and features (n, D), or (D,) the same of all."""
    return (pulls[:, :, None] * features[..., None, :]).flatten(1)
