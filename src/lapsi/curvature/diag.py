"""Diagonal of the GGN: λ_ck = Σ_j x_jk² v_jc + δ with v = p(1 − p).

Legend of the indices: n removed sample, j other samples, c class, m contrast, k l feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.linalg.matmul import matmul
from lapsi.models.likelihoods.softmax import probability_change, probability_derivative, variance_change
from lapsi.precision.base import KLTerms, joined
from lapsi.precision.diag import DiagPrecision
from lapsi.problem.linear import Problem

CACHE_ROWS = 16


@final
@dataclass(frozen=True, slots=True)
class DiagCurvature(Curvature):
    """Diagonal posterior; build it with `diag_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: λ (C·D,).
        derivative: M (C·D, P') = ∂λ/∂params, through which Δλ is linear in the shift (MATH §3).
    """

    problem: Problem
    map_params: Tensor
    precision: DiagPrecision
    derivative: Tensor

    def kl_terms(self, indices: Tensor, shift: Tensor) -> KLTerms:
        inputs, probabilities, logit_change = self.problem.own_change(indices, self.map_params, shift)
        variance_dot = (1 - 2 * probabilities) * probability_derivative(probabilities, logit_change)
        others = matmul(shift.flatten(1).to(self.derivative.dtype), self.derivative.T)
        return self._kl(shift, others, probabilities * (1 - probabilities) + variance_dot, inputs)

    def kl_terms_exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        probe = self.problem.probe
        by_class = shift.new_zeros(probe.n_classes, len(indices), probe.n_features)
        for inputs, probabilities, change in self.problem.perturbed(self.map_params, shift):
            by_class += matmul(variance_change(probabilities, change).flatten(1).T, inputs.square()).view_as(by_class)
        others = by_class.transpose(0, 1)
        own_inputs, own, logit_change = self.problem.own_change(indices, self.map_params, shift)
        moved = own + probability_change(own, logit_change)
        return self._kl(shift, others.flatten(1), moved * (1 - moved), own_inputs)

    def _kl(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor) -> KLTerms:
        """`others`: change of Σ_j x_j² v_j over all samples, of which the removed one takes x_i² v_i(shift) out.

        Goes through a few samples at a time, so that the float64 temporaries stay in the cache.
        """
        parts = [part.split(CACHE_ROWS) for part in (shift, others, own_variance, inputs)]
        return joined([self._kl_part(*part) for part in zip(*parts, strict=True)])

    def _kl_part(self, shift: Tensor, others: Tensor, own_variance: Tensor, inputs: Tensor) -> KLTerms:
        change = others.double()
        change -= (own_variance[:, :, None] * inputs.square()[:, None, :]).flatten(1)
        change -= self.problem.objective.prior_drop()
        return self.precision.kl_terms(self.problem.probe.weights(shift).flatten(1).double(), change)


def diag_curvature(problem: Problem, map_params: Tensor, dtype: torch.dtype) -> DiagCurvature:
    """Diagonal GGN posterior at `map_params`; M is built and kept in `dtype`."""
    probe, basis = problem.probe, problem.probe.basis
    prior = problem.objective.prior(problem.n_samples)
    diagonal = torch.full((probe.n_classes, probe.n_features), prior, dtype=torch.float64, device=map_params.device)
    derivative = torch.zeros(probe.n_classes, probe.n_features, probe.n_free_params, dtype=dtype, device=map_params.device)
    product = torch.empty_like(derivative[0])
    for rows in problem.row_blocks(derivative.element_size() * probe.n_free_params // 2):
        inputs = problem.inputs[rows]
        probabilities = problem.probabilities_of(map_params, inputs)
        variance = probabilities * (1 - probabilities)
        diagonal += torch.einsum("jc,jk->ck", variance, inputs.square())
        # ∂v_c/∂u_m = p_c(1 − 2p_c)(V_cm − Σ_a p_a V_am)
        slope = (probabilities * (1 - 2 * probabilities))[:, :, None] * (basis - (probabilities @ basis)[:, None, :])
        squared, inputs, slope = inputs.square().T.to(dtype).contiguous(), inputs.to(dtype), slope.to(dtype)
        wide = inputs.new_empty(len(inputs), probe.n_classes - 1, probe.n_features)
        for c in range(probe.n_classes):
            torch.mul(slope[:, c, :, None], inputs[:, None, :], out=wide)
            derivative[c] += matmul(squared, wide.flatten(1), out=product)
    return DiagCurvature(problem, map_params, DiagPrecision(diagonal.flatten()), derivative.flatten(0, 1))
