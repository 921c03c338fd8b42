"""Diagonal of the GGN of the linear model: λ_ck = Σ_j a_j x_jk² v_jc + δ, v the diagonal of S.

Legend of the indices: n unit that leaves, g its samples, j other samples, c output, m direction, k l feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.linalg.matmul import matmul
from lapsi.precision.base import KLTerms, joined
from lapsi.precision.diag import DiagPrecision
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed

CACHE_ROWS = 16


class VarianceSlope(ABC):
    """How the curvature of all samples moves with the parameters, to first order."""

    @abstractmethod
    def change(self, shift: Tensor) -> Tensor:
        """Change (n, K·D) of Σ_j a_j x_j² v_j under shifts (n, F, D)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseSlope(VarianceSlope):
    """The whole derivative M (K·D, P') = ∂λ/∂params."""

    derivative: Tensor

    def change(self, shift: Tensor) -> Tensor:
        return matmul(shift.flatten(1).to(self.derivative.dtype), self.derivative.T)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DiagCurvature(Curvature):
    """Diagonal posterior; build it with `diag_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: λ (K·D,).
        slope: through which Δλ is linear in the shift; None where all shifts are settled.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: DiagPrecision
    slope: VarianceSlope | None

    @property
    def form(self) -> str:
        return EXACT

    def reference(self) -> Curvature:
        return self

    def exact(self, n_units: int) -> Curvature:
        return self

    def divergence(self, removed: Removed) -> KLTerms:
        likelihood, shift = self.problem.likelihood, removed.shift
        inputs, state, output_change = self.problem.own_change(removed.units, self.map_params, shift)
        if removed.is_settled:
            moved = likelihood.variance_change(state, likelihood.residual_change(state, output_change))
            others = self._variance_change_sum(shift)
            scale = removed.hessian_scale
        else:
            assert self.slope is not None
            moved = likelihood.variance_derivative(state, likelihood.residual_derivative(state, output_change))
            others = self.slope.change(shift)
            scale = None
        weights = weight_of(self.problem, removed.units)
        own = weights[..., None] * (likelihood.variance(state) + moved)
        if scale is not None:
            before = self.precision.diagonal.view(scale.shape[1], -1) - self.problem.objective.prior(self.problem.total)
            others, own = others + ((scale - 1)[:, :, None] * before).flatten(1), scale[:, None, :] * own
        return self._kl(shift, others, own, self.problem.model.plain(inputs), weights.sum(1))

    def _variance_change_sum(self, shift: Tensor) -> Tensor:
        """Change (n, K·D) of Σ_j a_j x_j² v_j over all samples at the shifted parameters, by a pass over them."""
        model, likelihood = self.problem.model, self.problem.likelihood
        by_output = shift.new_zeros(model.n_outputs, len(shift), model.n_plain_features)
        for rows, inputs, state, change in self.problem.perturbed(self.map_params, shift):
            squares = self.problem.weigh(model.plain(inputs).square(), rows)
            by_output += matmul(likelihood.variance_change(state, change).flatten(1).T, squares).view_as(by_output)
        return by_output.transpose(0, 1).flatten(1)

    def _kl(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor, leaving: Tensor) -> KLTerms:
        """`others`: change of Σ_j a_j x_j² v_j over all samples, of which what leaves takes Σ a_i x_i² v_i(shift) out.

        Goes through a few units at a time, so that the float64 temporaries stay in the cache.
        """
        parts = [part.split(CACHE_ROWS) for part in (shift, others, own_variance, inputs, leaving)]
        return joined([self._kl_part(*part) for part in zip(*parts, strict=True)])

    def _kl_part(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor, leaving: Tensor) -> KLTerms:
        change = others.double()
        change -= torch.einsum("ngc,ngk->nck", own_variance, inputs.square()).flatten(1)
        change -= self.problem.objective.prior_drop(leaving)[:, None]
        return self.precision.kl_terms(self.problem.model.weights(shift).flatten(1).double(), change)


def diag_curvature(problem: LinearProblem, map_params: Tensor, dtype: torch.dtype | None) -> DiagCurvature:
    """Diagonal GGN posterior at `map_params`; M is built and kept in `dtype`, or not at all for None."""
    model, likelihood, basis = problem.model, problem.likelihood, problem.likelihood.basis
    prior = problem.objective.prior(problem.total)
    diagonal = torch.full((model.n_outputs, model.n_plain_features), prior, dtype=torch.float64, device=map_params.device)
    shape = (model.n_outputs, model.n_plain_features, model.n_params)
    derivative = None if dtype is None else torch.zeros(shape, dtype=dtype, device=map_params.device)
    slope_bytes = 0 if dtype is None else dtype.itemsize * model.n_params // 2 + 4 * 8 * model.n_outputs * model.n_directions
    row_bytes = max(8 * (model.n_plain_features + 4 * model.n_outputs), slope_bytes)
    for rows in problem.row_blocks(row_bytes):
        inputs = problem.inputs_of(rows)
        state = problem.state_of(map_params, inputs)
        squares = problem.weigh(model.plain(inputs).square(), rows)
        diagonal += likelihood.variance(state).T @ squares
        if derivative is not None:
            directions = likelihood.residual_derivative(state[:, None, :], basis.T)  # (j, m, c): ∂r_c/∂u_m
            slope = likelihood.variance_derivative(state[:, None, :], directions)
            _add_products(derivative, squares, inputs, slope)
    precision = DiagPrecision(diagonal.flatten())
    return DiagCurvature(problem, map_params, precision, None if derivative is None else DenseSlope(derivative.flatten(0, 1)))


def _add_products(derivative: Tensor, squares: Tensor, inputs: Tensor, slope: Tensor) -> None:
    """Adds Σ_j squares_jk slope_jmc x_jl to `derivative` (c, k, m·l)."""
    squared, inputs = squares.T.to(derivative.dtype).contiguous(), inputs.to(derivative.dtype)
    slope = slope.permute(2, 0, 1).to(derivative.dtype).contiguous()
    wide = inputs.new_empty(len(inputs), slope.shape[2], inputs.shape[1])
    product = torch.empty_like(derivative[0])
    for block, by_direction in zip(derivative, slope, strict=True):
        torch.mul(by_direction[:, :, None], inputs[:, None, :], out=wide)
        block.add_(matmul(squared, wide.flatten(1), out=product))
