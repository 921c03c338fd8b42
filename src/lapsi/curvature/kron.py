"""Kronecker-factored GGN of the linear model's one layer: Λ = B ⊗ G + δI, B = mean of S (K, K), G = XᵀX (D, D).

Legend of the indices: n unit that leaves, g its samples, j other samples, a b output, m direction, l feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.precision.base import KLTerms
from lapsi.precision.kron import KronChange, KronPrecision, kron_precision
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed


@final
@dataclass(frozen=True, slots=True, eq=False)
class KronCurvature(Curvature):
    """Kronecker-factored posterior; build it with `kron_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: B ⊗ G + δI.
        derivative: T (K, K, P') = ∂(Σ_j S_j)/∂params; None where all shifts are settled.
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
        likelihood, shift = self.problem.likelihood, removed.shift
        inputs, mean, output_change = self.problem.own_change(removed.units, self.map_params, shift)
        if removed.is_settled:
            moved = likelihood.hessian_change(mean, likelihood.residual_change(mean, output_change))
            others = self._hessian_change_sum(shift)
        else:
            assert self.derivative is not None
            moved = likelihood.hessian_derivative(mean, likelihood.residual_derivative(mean, output_change))
            others = torch.einsum("abp,np->nab", self.derivative, shift.flatten(1).double())
        change = others - (likelihood.hessian(mean) + moved).sum(1)
        return self._kl(shift, change, inputs)

    def _hessian_change_sum(self, shift: Tensor) -> Tensor:
        """Change (n, K, K) float64 of Σ_j S_j over all samples at the shifted parameters, by a pass over them."""
        likelihood = self.problem.likelihood
        others = shift.new_zeros(len(shift), likelihood.n_outputs, likelihood.n_outputs)
        for _, mean, change in self.problem.perturbed(self.map_params, shift):
            others += likelihood.hessian_change_sum(mean, change)
        return others.double()

    def _kl(self, shift: Tensor, change: Tensor, inputs: Tensor) -> KLTerms:
        """(N−g)·ΔB = g·B + `change`, what Σ_j S_j over all samples changes by less what leaves."""
        n_left, n_removed = self.problem.n_samples - inputs.shape[1], inputs.shape[1]
        drop = self.problem.objective.prior_drop(n_removed)
        output_change = (n_removed * self.precision.output_factor + change) / n_left
        weights = self.problem.model.weights(shift).flatten(1).double()
        if n_removed == 1:
            return self.precision.kl_terms(weights, KronChange(inputs[:, 0], output_change, drop))
        terms = [self._kl_to(*parts, drop) for parts in zip(weights, output_change, inputs, strict=True)]
        return KLTerms(torch.cat([term.mean for term in terms]), torch.cat([term.curvature for term in terms]))

    def _kl_to(self, shift: Tensor, output_change: Tensor, inputs: Tensor, drop: float) -> KLTerms:
        """For a unit of many samples, whose input factor falls by more than one rank."""
        whole = self.precision
        output, inner = whole.output_factor + output_change, whole.input_factor - inputs.T @ inputs
        return whole.kl_to(shift, kron_precision(output, inner, whole.prior - drop))


def kron_curvature(problem: LinearProblem, map_params: Tensor, *, first_order: bool) -> KronCurvature:
    """Kronecker-factored GGN posterior at `map_params`, float64; T is built where shifts are taken to first order."""
    model, likelihood, n_samples = problem.model, problem.likelihood, problem.n_samples
    k, f, d = model.n_outputs, model.n_directions, model.n_features
    output_sum = map_params.new_zeros(k, k)
    derivative = map_params.new_zeros(k * k * f, d) if first_order else None
    for rows in problem.row_blocks(8 * 2 * k**3):
        inputs = problem.inputs[rows]
        mean = problem.mean_of(map_params, inputs)
        output_sum += likelihood.hessian(mean).sum(0)
        if derivative is not None:
            slopes = likelihood.residual_derivative(mean[:, None, :], likelihood.basis.T)  # (j, m, a): ∂r_a/∂u_m
            by_direction = likelihood.hessian_derivative(mean[:, None, :], slopes)  # (j, m, a, b)
            derivative += by_direction.permute(2, 3, 1, 0).flatten(0, 2) @ inputs
    prior = problem.objective.prior(n_samples)
    precision = kron_precision(output_sum / n_samples, problem.inputs.T @ problem.inputs, prior)
    return KronCurvature(problem, map_params, precision, None if derivative is None else derivative.view(k, k, f * d))
