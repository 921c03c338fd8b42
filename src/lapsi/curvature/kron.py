"""Kronecker-factored GGN of the probe's one layer: Λ = B ⊗ G + δI, B = mean of S (C, C), G = XᵀX (D, D).

Legend of the indices: n removed sample, j other samples, a b class, m contrast, l feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.models.likelihoods.softmax import (
    logit_hessian,
    logit_hessian_change,
    logit_hessian_derivative,
    probability_change,
    probability_derivative,
)
from lapsi.precision.base import KLTerms
from lapsi.precision.kron import KronChange, KronPrecision, kron_precision
from lapsi.problem.linear import Problem


@final
@dataclass(frozen=True, slots=True)
class KronCurvature(Curvature):
    """Kronecker-factored posterior; build it with `kron_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: B ⊗ G + δI.
        output_factor: B (C, C).
        derivative: T (C, C, P') = ∂(Σ_j S_j)/∂params.
    """

    problem: Problem
    map_params: Tensor
    precision: KronPrecision
    output_factor: Tensor
    derivative: Tensor

    def kl_terms(self, indices: Tensor, shift: Tensor) -> KLTerms:
        inputs, probabilities, logit_change = self.problem.own_change(indices, self.map_params, shift)
        dot = logit_hessian_derivative(probabilities, probability_derivative(probabilities, logit_change))
        others = torch.einsum("abp,np->nab", self.derivative, shift.flatten(1).double())
        return self._kl(shift, others, logit_hessian(probabilities) + dot, inputs)

    def kl_terms_exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        n_classes = self.problem.probe.n_classes
        others = shift.new_zeros(len(indices), n_classes, n_classes)
        for _, probabilities, change in self.problem.perturbed(self.map_params, shift):
            # Σ_j of logit_hessian_change, without a (j, n, C, C) array
            cross = torch.einsum("jan,jb->nab", change, probabilities[:, :, 0])
            square = torch.einsum("jan,jbn->nab", change, change)
            others += torch.diag_embed(change.sum(0).T) - cross - cross.mT - square
        own_inputs, own, logit_change = self.problem.own_change(indices, self.map_params, shift)
        moved = logit_hessian(own) + logit_hessian_change(own, probability_change(own, logit_change))
        return self._kl(shift, others.double(), moved, own_inputs)

    def _kl(self, shift: Tensor, others: Tensor, own: Tensor, inputs: Tensor) -> KLTerms:
        """(N−1)·ΔB = B + [change of Σ_j S_j over all samples] − S_i at the shifted parameters."""
        output_change = (self.output_factor + others - own) / (self.problem.n_samples - 1)
        change = KronChange(inputs, output_change, self.problem.objective.prior_drop())
        return self.precision.kl_terms(self.problem.probe.weights(shift).flatten(1).double(), change)


def kron_curvature(problem: Problem, map_params: Tensor) -> KronCurvature:
    """Kronecker-factored GGN posterior at `map_params`, float64."""
    probe, n_samples = problem.probe, problem.n_samples
    c, d = probe.n_classes, probe.n_features
    output_sum = map_params.new_zeros(c, c)
    derivative = map_params.new_zeros(c * c * (c - 1), d)
    for rows in problem.row_blocks(8 * 2 * c**3):
        inputs = problem.inputs[rows]
        probabilities = problem.probabilities_of(map_params, inputs)
        output_sum += logit_hessian(probabilities).sum(0)
        slopes = probability_derivative(probabilities[:, None, :], probe.basis.T)  # (j, m, a): ∂p_a/∂u_m
        by_contrast = logit_hessian_derivative(probabilities[:, None, :], slopes)  # (j, m, a, b)
        derivative += by_contrast.permute(2, 3, 1, 0).flatten(0, 2) @ inputs
    output_factor = output_sum / n_samples
    precision = kron_precision(output_factor, problem.inputs.T @ problem.inputs, problem.objective.prior(n_samples))
    return KronCurvature(problem, map_params, precision, output_factor, derivative.view(c, c, (c - 1) * d))
