"""Kronecker-factored GGN of the probe's one layer: Λ = B ⊗ G + δI, B = mean of S (C, C), G = XᵀX (D, D).

S and its derivatives are symmetric with rows that sum to 0, so the pairs of classes a < b say all: S_ab = −p_ap_b.

Legend of the indices: n removed sample, j other samples, a b class, m contrast, l feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.linalg.matmul import matmul
from lapsi.models.likelihoods.softmax import (
    logit_hessian,
    logit_hessian_change,
    logit_hessian_derivative,
    probability_change,
    probability_derivative,
)
from lapsi.precision.base import KLTerms, joined
from lapsi.precision.kron import KronChange, KronPrecision, kron_precision
from lapsi.problem.linear import Problem

PART_ENTRIES = 2**18


@final
@dataclass(frozen=True, slots=True)
class KronCurvature(Curvature):
    """Kronecker-factored posterior; build it with `kron_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: B ⊗ G + δI.
        output_factor: B (C, C).
        derivative: T (C(C−1)/2, P') = ∂(Σ_j S_j)/∂params of the pairs of classes; None: a pass over the data takes its place.
    """

    problem: Problem
    map_params: Tensor
    precision: KronPrecision
    output_factor: Tensor
    derivative: Tensor | None

    def kl_terms(self, indices: Tensor, shift: Tensor) -> KLTerms:
        return self._in_parts(self._first_order, indices, shift)

    def kl_terms_exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        return self._in_parts(self._exact, indices, shift)

    def _in_parts(self, form: Callable[[Tensor, Tensor], KLTerms], indices: Tensor, shift: Tensor) -> KLTerms:
        """A few samples at a time, so that arrays (n, C, C) stay small, and blocks of rows under n shifts long."""
        size = max(1, PART_ENTRIES // self.problem.probe.n_classes**2)
        return joined([form(*part) for part in zip(indices.split(size), shift.split(size), strict=True)])

    def _first_order(self, indices: Tensor, shift: Tensor) -> KLTerms:
        inputs, probabilities, logit_change = self.problem.own_change(indices, self.map_params, shift)
        dot = logit_hessian_derivative(probabilities, probability_derivative(probabilities, logit_change))
        return self._kl(shift, self._derivative_along(shift.double()), logit_hessian(probabilities) + dot, inputs)

    def _exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        own_inputs, own, logit_change = self.problem.own_change(indices, self.map_params, shift)
        moved = logit_hessian(own) + logit_hessian_change(own, probability_change(own, logit_change))
        return self._kl(shift, self._change_along(shift).double(), moved, own_inputs)

    def _change_along(self, shift: Tensor) -> Tensor:
        """Change of Σ_j S_j (n, C, C) under each shift; Δp pᵀ + pΔpᵀ + ΔpΔpᵀ is Δp(p + Δp/2)ᵀ and its transpose."""
        total, cross = shift.new_zeros(self.problem.probe.n_classes, len(shift)), self._nothing(shift)
        for _, probabilities, change in self.problem.perturbed(self.map_params, shift):
            total += change.sum(0)
            cross += torch.einsum("jan,jbn->nab", change, probabilities + 0.5 * change)
        return torch.diag_embed(total.T) - cross - cross.mT

    def _derivative_along(self, shift: Tensor) -> Tensor:
        """Derivative of Σ_j S_j (n, C, C) along each shift, float64."""
        if self.derivative is not None:
            return _from_pairs(matmul(shift.flatten(1), self.derivative.T), self.problem.probe.n_classes)
        total, cross = shift.new_zeros(self.problem.probe.n_classes, len(shift)), self._nothing(shift)
        for _, probabilities, logit_change in self.problem.logit_changes(self.map_params, shift):
            slope = probabilities * (logit_change - (probabilities * logit_change).sum(1, keepdim=True))
            total += slope.sum(0)
            cross += torch.einsum("jan,jb->nab", slope, probabilities[:, :, 0])
        return torch.diag_embed(total.T) - cross - cross.mT

    def _nothing(self, shift: Tensor) -> Tensor:
        return shift.new_zeros(len(shift), self.problem.probe.n_classes, self.problem.probe.n_classes)

    def _kl(self, shift: Tensor, others: Tensor, own: Tensor, inputs: Tensor) -> KLTerms:
        """(N−1)·ΔB = B + [change of Σ_j S_j over all samples] − S_i at the shifted parameters."""
        output_change = (self.output_factor + others - own) / (self.problem.n_samples - 1)
        change = KronChange(inputs, output_change, self.problem.objective.prior_drop())
        return self.precision.kl_terms(self.problem.probe.weights(shift).flatten(1).double(), change)


def kron_curvature(problem: Problem, map_params: Tensor, *, streams: bool = False) -> KronCurvature:
    """Kronecker-factored GGN posterior at `map_params`, float64; `streams` keeps no T, whose size is C³D/2."""
    n_samples, total = problem.n_samples, map_params.new_zeros(problem.probe.n_classes, problem.probe.n_classes)
    for rows in problem.row_blocks(8 * 4 * problem.probe.n_classes):
        probabilities = problem.probabilities_of(map_params, problem.inputs[rows])
        total += torch.diag(probabilities.sum(0)) - probabilities.T @ probabilities
    output_factor = total / n_samples
    precision = kron_precision(output_factor, problem.inputs.T @ problem.inputs, problem.objective.prior(n_samples))
    return KronCurvature(problem, map_params, precision, output_factor, None if streams else _derivative(problem, map_params))


def _derivative(problem: Problem, map_params: Tensor) -> Tensor:
    """T (C(C−1)/2, P'): ∂S_ab/∂u_m = −p_ap_b(V_am + V_bm − 2 Σ_c p_cV_cm) for a < b, times x_l, summed over the samples."""
    basis, n_classes = problem.probe.basis, problem.probe.n_classes
    total = map_params.new_zeros(n_classes * (n_classes - 1) // 2, *map_params.shape)
    for rows in problem.row_blocks(8 * 3 * n_classes**2):
        inputs = problem.inputs[rows]
        probabilities = problem.probabilities_of(map_params, inputs)
        mean = 2 * (probabilities @ basis)[:, None, :]
        start = 0
        for a in range(n_classes - 1):
            pair = probabilities[:, a, None] * probabilities[:, a + 1 :]
            slopes = (mean - (basis[a] + basis[a + 1 :])).mul_(pair[:, :, None])
            part = total[start : start + pair.shape[1]]
            part += matmul(slopes.flatten(1).T, inputs).view_as(part)
            start += pair.shape[1]
    return total.flatten(1)


def _from_pairs(pairs: Tensor, n_classes: int) -> Tensor:
    """Symmetric matrices (n, C, C) with rows that sum to 0, from their entries a < b (n, C(C−1)/2)."""
    above, below = torch.triu_indices(n_classes, n_classes, 1, device=pairs.device)
    matrices = pairs.new_zeros(len(pairs), n_classes, n_classes)
    matrices[:, above, below] = matrices[:, below, above] = pairs
    return matrices - torch.diag_embed(matrices.sum(2))
