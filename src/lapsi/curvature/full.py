"""Full GGN. It is block diagonal: the contrasts carry the likelihood, the class mean of the weights only the prior.

The change when sample i leaves is its own curvature −J S Jᵀ (and the drop of the prior): the removal form.
Legend of the indices: n removed sample, m contrast, c column of the root F of S = F Fᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.linalg.woodbury import influence_columns, leverage
from lapsi.models.likelihoods.softmax import logit_hessian, logit_hessian_change, logit_hessian_root, probability_change
from lapsi.models.linear import weighted_gram
from lapsi.precision.base import KLTerms, excess
from lapsi.precision.full import FullChange, FullPrecision, dense_kl, full_precision
from lapsi.problem.linear import Problem
from lapsi.training.newton import invert


@final
@dataclass(frozen=True, slots=True)
class FullCurvature(Curvature):
    """Full posterior; build it with `full_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: Λ over the contrasts (P', P').
        reduced_inverse: Λ′⁻¹, Λ′ = Λ − prior_drop·I.
        cross_inverse: Λ⁻¹Λ′⁻¹, or None where the prior does not drop.
        mean_direction: the constant share of the D parameters that see only the prior, nats.
    """

    problem: Problem
    map_params: Tensor
    precision: FullPrecision
    reduced_inverse: Tensor
    cross_inverse: Tensor | None
    mean_direction: float

    def kl_terms(self, indices: Tensor, shift: Tensor) -> KLTerms:
        inputs = self.problem.inputs[indices]
        root = self._root(inputs)
        gram = self._root_product(self.reduced_inverse, inputs, root)
        ridge_trace = gram.new_zeros(len(gram))
        if self.cross_inverse is not None:
            cross = self._root_product(self.cross_inverse, inputs, root)
            ridge_trace = torch.einsum("ncc->n", cross)
        projection = torch.einsum("nmc,nmk,nk->nc", root, shift.double(), inputs)
        terms = self.precision.kl_terms(shift.flatten(1), FullChange(gram, ridge_trace, projection))
        return KLTerms(terms.mean, terms.curvature + self.mean_direction)

    def kl_terms_exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        """The removal form again: what is exact at `shift` are the shift and the sample's own curvature."""
        return self.kl_terms(indices, shift)

    def kl_terms_dense(self, indices: Tensor, shift: Tensor) -> KLTerms:
        """With the curvature of the other samples evaluated at the shifted parameters.

        Dense and slow, one sample at a time: a pass of N·P'² flop and an eigendecomposition (P', P') for each."""
        factor = torch.linalg.cholesky(self.precision.to_dense().double())
        terms = [self._exact_one(index, one, factor) for index, one in zip(indices, shift.double(), strict=True)]
        mean, curvature = torch.tensor(terms, dtype=torch.float64, device=shift.device).T
        return KLTerms(mean, curvature + self.mean_direction)

    def _exact_one(self, index: Tensor, shift: Tensor, factor: Tensor) -> tuple[float, float]:
        problem = self.problem
        own_input = problem.inputs[index][None]
        own_probabilities = problem.probabilities_of(self.map_params, own_input)
        own_change = probability_change(own_probabilities, problem.probe.logits(shift, own_input))
        moved = logit_hessian(own_probabilities) + logit_hessian_change(own_probabilities, own_change)

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            for inputs, probabilities, change in problem.perturbed(self.map_params, shift[None]):
                yield inputs, problem.to_contrasts(logit_hessian_change(probabilities[:, :, 0], change[:, :, 0]))
            yield own_input, -problem.to_contrasts(moved)

        change = weighted_gram(blocks())
        change.diagonal().sub_(problem.objective.prior_drop())
        flat = shift.flatten()
        quad = self.precision.quad(flat[None]) + flat @ change @ flat
        terms = dense_kl(factor, change, quad)
        return float(terms.mean), float(terms.curvature)

    def _root(self, inputs: Tensor) -> Tensor:
        """Vᵀ F (n, C−1, C), so that VᵀSV = (VᵀF)(VᵀF)ᵀ."""
        probabilities = self.problem.probabilities_of(self.map_params, inputs)
        return torch.einsum("am,nac->nmc", self.problem.probe.basis, logit_hessian_root(probabilities))

    def _root_product(self, matrix: Tensor, inputs: Tensor, root: Tensor) -> Tensor:
        """FᵀJᵀ·matrix·J F (n, C, C)."""
        return root.mT @ leverage(influence_columns(matrix, inputs), inputs) @ root


def full_curvature(problem: Problem, map_params: Tensor, hessian: Tensor, inverse: Tensor) -> FullCurvature:
    """Full GGN posterior at `map_params`.

    Args:
        problem, map_params: where the posterior sits.
        hessian: (P', P') float64, GGN + l2_without·I; it is changed in place where the prior differs from that.
        inverse: its inverse, in the dtype of the large products.
    """
    objective, n_samples = problem.objective, problem.n_samples
    drop, prior = objective.prior_drop(), objective.prior(n_samples)
    ridge_gap = prior - drop - objective.l2_without(n_samples)
    if ridge_gap != 0:
        hessian.diagonal().add_(ridge_gap)
        inverse = invert(hessian)  # float64: a prior smaller than the weight decay conditions it worse than the fit
    with_ridge = hessian if drop == 0 else hessian + drop * torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    whole_inverse = None if drop == 0 else invert(with_ridge).to(inverse.dtype)
    precision = full_precision(hessian.to(inverse.dtype), drop, inverse if whole_inverse is None else whole_inverse)
    cross = None if whole_inverse is None else whole_inverse @ inverse
    mean_direction = 0.5 * problem.probe.n_features * float(excess(torch.tensor(-drop / prior, dtype=torch.float64)))
    return FullCurvature(problem, map_params, precision, inverse, cross, mean_direction)
