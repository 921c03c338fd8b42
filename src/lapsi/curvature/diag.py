"""Diagonal of the GGN of the linear model: λ_ck = Σ_j a_j x_jk² v_jc + δ, v the diagonal of S.

Legend of the indices: n unit that leaves, g its samples, j other samples, c output, m direction, k l feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.curvature.slope import VarianceSlope
from lapsi.linalg.matmul import matmul
from lapsi.precision.base import Terms, joined
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed

CACHE_ROWS = 16


@final
@dataclass(frozen=True, slots=True, eq=False)
class DiagCurvature(Curvature):
    """Diagonal posterior; build it with `diag_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: λ (K·D,).
        slope: through which Δλ is linear in the shift; None where all shifts are settled.
        kind: of the divergence.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: DiagPrecision
    slope: VarianceSlope | None
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
        if not removed.is_settled:
            assert self.slope is not None
            return self.first_order(removed.units, removed.shift, self.slope.change(removed.shift))
        likelihood, shift, scale = self.problem.likelihood, removed.shift, removed.hessian_scale
        inputs, state, output_change = self.problem.own_change(removed.units, self.map_params, shift)
        moved = likelihood.variance_change(state, likelihood.residual_change(state, output_change))
        others = self._variance_change_sum(shift)
        weights = weight_of(self.problem, removed.units)
        own = weights[..., None] * (likelihood.variance(state) + moved)
        if scale is not None:
            before = self.precision.diagonal.view(scale.shape[1], -1) - self.problem.objective.prior(self.problem.total)
            others, own = others + ((scale - 1)[:, :, None] * before).flatten(1), scale[:, None, :] * own
        return self._terms(shift, others, own, self.problem.model.plain(inputs), weights.sum(1))

    def first_order(self, units: Tensor, shift: Tensor, others: Tensor) -> Terms:
        """`divergence` for shifts (n, F, D) of units (n, g) under which Σ_j a_j x_j² v_j moves by `others` (n, K·D)."""
        likelihood = self.problem.likelihood
        inputs, state, output_change = self.problem.own_change(units, self.map_params, shift)
        moved = likelihood.variance_derivative(state, likelihood.residual_derivative(state, output_change))
        weights = weight_of(self.problem, units)
        own = weights[..., None] * (likelihood.variance(state) + moved)
        return self._terms(shift, others, own, self.problem.model.plain(inputs), weights.sum(1))

    def _variance_change_sum(self, shift: Tensor) -> Tensor:
        """Change (n, K·D) of Σ_j a_j x_j² v_j over all samples at the shifted parameters, by a pass over them."""
        model, likelihood = self.problem.model, self.problem.likelihood
        by_output = shift.new_zeros(model.n_outputs, len(shift), model.n_plain_features)
        for rows, inputs, state, change in self.problem.perturbed(self.map_params, shift):
            squares = self.problem.weigh(model.plain(inputs).square(), rows)
            by_output += matmul(likelihood.variance_change(state, change).flatten(1).T, squares).view_as(by_output)
        return by_output.transpose(0, 1).flatten(1)

    def _terms(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor, leaving: Tensor) -> Terms:
        """`others`: change of Σ_j a_j x_j² v_j over all samples, of which what leaves takes Σ a_i x_i² v_i(shift) out.

        Goes through a few units at a time, so that the float64 temporaries stay in the cache.
        """
        parts = [part.split(CACHE_ROWS) for part in (shift, others, own_variance, inputs, leaving)]
        return joined([self._part(*part) for part in zip(*parts, strict=True)])

    def _part(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor, leaving: Tensor) -> Terms:
        change = others.double()
        change -= torch.einsum("ngc,ngk->nck", own_variance, inputs.square()).flatten(1)
        change -= self.problem.objective.prior_drop(leaving)[:, None]
        return self.kind.of(self.precision.compare(self.problem.model.weights(shift).flatten(1).double(), change))


def diag_curvature(problem: LinearProblem, map_params: Tensor, slope: VarianceSlope | None = None) -> DiagCurvature:
    """Diagonal GGN posterior at `map_params`; without a slope for shifts that are settled alone."""
    model, likelihood = problem.model, problem.likelihood
    prior = problem.objective.prior(problem.total)
    diagonal = torch.full((model.n_outputs, model.n_plain_features), prior, dtype=torch.float64, device=map_params.device)
    for rows in problem.row_blocks(8 * (model.n_plain_features + 4 * model.n_outputs)):
        inputs = problem.inputs_of(rows)
        squares = problem.weigh(model.plain(inputs).square(), rows)
        diagonal += likelihood.variance(problem.state_of(map_params, inputs)).T @ squares
    return DiagCurvature(problem, map_params, DiagPrecision(diagonal.flatten()), slope)
