"""Kronecker-factored GGN of the linear model's one layer: Λ = B ⊗ G + δI, B = mean of VᵀSV (F, F), G = XᵀX (D, D).

In the directions that the loss does not see Λ is δI: they stand aside, so that no rounding of a 0 in B meets a large G.

Legend of the indices: n unit that leaves, g its samples, j other samples, a b output, m direction, l feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.curvature.prior import prior_share
from lapsi.linalg.matmul import matmul
from lapsi.precision.base import KLTerms, joined
from lapsi.precision.kron import KronChange, KronPrecision, kron_precision
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed

PART_ENTRIES = 2**18


@final
@dataclass(frozen=True, slots=True, eq=False)
class KronCurvature(Curvature):
    """Kronecker-factored posterior; build it with `kron_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: B ⊗ G + δI.
        derivative: T (K(K+1)/2, P') = ∂(Σ_j S_j)/∂params, the entries a ≤ b of S; None: a pass over the data takes its place.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: KronPrecision
    derivative: Tensor | None

    @property
    def form(self) -> str:
        return EXACT

    def exact(self, n_units: int) -> Curvature:
        return self

    def divergence(self, removed: Removed) -> KLTerms:
        """A few units at a time, so that arrays (n, K, K) stay small, and blocks of rows under n shifts long."""
        size = max(1, PART_ENTRIES // self.problem.likelihood.n_outputs**2)
        parts = zip(removed.units.split(size), removed.shift.split(size), strict=True)
        return joined([self._divergence(units, shift, removed.is_settled) for units, shift in parts])

    def _divergence(self, units: Tensor, shift: Tensor, is_settled: bool) -> KLTerms:
        likelihood = self.problem.likelihood
        inputs, mean, output_change = self.problem.own_change(units, self.map_params, shift)
        if is_settled:
            moved = likelihood.hessian_change(mean, likelihood.residual_change(mean, output_change))
            others = self._hessian_change_sum(shift)
        else:
            moved = likelihood.hessian_derivative(mean, likelihood.residual_derivative(mean, output_change))
            others = self._hessian_derivative_sum(shift.double())
        return self._kl(shift, others - (likelihood.hessian(mean) + moved).sum(1), inputs)

    def _hessian_change_sum(self, shift: Tensor) -> Tensor:
        """Change (n, K, K) float64 of Σ_j S_j over all samples at the shifted parameters, by a pass over them."""
        likelihood = self.problem.likelihood
        others = shift.new_zeros(len(shift), likelihood.n_outputs, likelihood.n_outputs)
        for _, mean, change in self.problem.perturbed(self.map_params, shift):
            others += likelihood.hessian_change_sum(mean, change)
        return others.double()

    def _hessian_derivative_sum(self, shift: Tensor) -> Tensor:
        """The same to first order in the shift, float64: T·shift, or a pass."""
        likelihood = self.problem.likelihood
        others = shift.new_zeros(len(shift), likelihood.n_outputs, likelihood.n_outputs)
        if self.derivative is not None:
            first, second = _pairs(likelihood.n_outputs, shift.device)
            others[:, first, second] = others[:, second, first] = matmul(shift.flatten(1), self.derivative.T)
            return others
        for _, mean, output_change in self.problem.output_changes(self.map_params, shift):
            others += likelihood.hessian_derivative_sum(mean, likelihood.residual_derivative(mean, output_change, axis=1))
        return others

    def _kl(self, shift: Tensor, change: Tensor, inputs: Tensor) -> KLTerms:
        """(N−g)·ΔB = g·B + `change`, what Σ_j S_j over all samples changes by less what leaves."""
        n_left, n_removed = self.problem.n_samples - inputs.shape[1], inputs.shape[1]
        drop, shift = self.problem.objective.prior_drop(n_removed), shift.flatten(1).double()
        output_change = (n_removed * self.precision.output_factor + self.problem.in_basis(change)) / n_left
        if n_removed == 1:
            terms = self.precision.kl_terms(shift, KronChange(inputs[:, 0], output_change, drop))
        else:
            terms = joined([self._kl_to(*parts, drop) for parts in zip(shift, output_change, inputs, strict=True)])
        return KLTerms(terms.mean, terms.curvature + prior_share(self.problem, n_removed))

    def _kl_to(self, shift: Tensor, output_change: Tensor, inputs: Tensor, drop: float) -> KLTerms:
        """For a unit of many samples, whose input factor falls by more than one rank."""
        whole = self.precision
        output, inner = whole.output_factor + output_change, whole.input_factor - inputs.T @ inputs
        return whole.kl_to(shift, kron_precision(output, inner, whole.prior - drop))


def kron_curvature(problem: LinearProblem, map_params: Tensor, *, holds_derivative: bool) -> KronCurvature:
    """Kronecker-factored GGN posterior at `map_params`, float64."""
    likelihood, n_samples = problem.likelihood, problem.n_samples
    output_sum = map_params.new_zeros(likelihood.n_outputs, likelihood.n_outputs)
    for rows in problem.row_blocks(8 * 4 * likelihood.n_outputs):
        output_sum += likelihood.hessian_sum(problem.mean_of(map_params, problem.inputs[rows]))
    prior = problem.objective.prior(n_samples)
    output_factor = problem.in_basis(output_sum[None])[0] / n_samples
    precision = kron_precision(output_factor, problem.inputs.T @ problem.inputs, prior)
    return KronCurvature(problem, map_params, precision, _derivative(problem, map_params) if holds_derivative else None)


def _derivative(problem: LinearProblem, map_params: Tensor) -> Tensor:
    """T (K(K+1)/2, P'), direction by direction."""
    likelihood = problem.likelihood
    first, second = _pairs(likelihood.n_outputs, map_params.device)
    entries = first * likelihood.n_outputs + second
    total = map_params.new_zeros(len(first), *map_params.shape)
    for rows in problem.row_blocks(8 * 16 * likelihood.n_outputs**2):
        inputs = problem.inputs[rows]
        mean = problem.mean_of(map_params, inputs)
        for m, direction in enumerate(likelihood.basis.T):
            slopes = likelihood.hessian_derivative(mean, likelihood.residual_derivative(mean, direction))
            total[:, m] += matmul(slopes.flatten(1).index_select(1, entries).T, inputs)
    return total.flatten(1)


def _pairs(n_outputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The outputs a ≤ b of each entry of T."""
    first, second = torch.triu_indices(n_outputs, n_outputs, device=device)
    return first, second
