"""Full GGN of the linear model. It is block diagonal: the directions that the loss sees, and those that only the prior does.

Two forms of its change when a unit leaves: exact, by a pass over the data and a dense matrix for each unit; and the *removal
form*, which takes the unit's own curvature −J S Jᵀ and the drop of the prior, and holds the curvature of the others.
Legend of the indices: n unit that leaves, g its samples, m direction, k feature, c column of the root F of S = F Fᵀ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, REMOVAL_FORM, Curvature
from lapsi.curvature.prior import prior_share
from lapsi.linalg.gram import weighted_gram
from lapsi.linalg.woodbury import influence_columns, leverage
from lapsi.precision.base import Terms, joined
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.precision.full import DenseComparison, FullChange, FullPrecision, full_precision
from lapsi.problem.base import mean_weight, weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed
from lapsi.training.newton import invert

EXACT_FLOP = 2e12  # about a minute on two cores


@final
@dataclass(frozen=True, slots=True, eq=False)
class FullCurvature(Curvature):
    """Full posterior, its change exact; build it with `full_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: Λ in the directions that the loss sees (P', P') float64.
        factor: its Cholesky factor.
        kind: of the divergence.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: Tensor
    factor: Tensor
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
        """Dense and slow, one unit at a time: a pass of N·P'² flop and a matrix function (P', P') for each."""
        scales = [None] * len(removed.units) if removed.hessian_scale is None else list(removed.hessian_scale)
        parts = zip(removed.units, removed.shift.double(), scales, strict=True)
        terms, leaving = joined([self._one(*part) for part in parts]), weight_of(self.problem, removed.units).sum(1)
        return Terms(terms.mean, terms.curvature + prior_share(self.problem, leaving, self.kind))

    def _one(self, unit: Tensor, shift: Tensor, scale: Tensor | None) -> Terms:
        problem = self.problem
        likelihood, weights = problem.likelihood, weight_of(problem, unit)
        own, state, output_change = (part[0] for part in problem.own_change(unit[None], self.map_params, shift[None]))
        own_change = likelihood.residual_change(state, output_change)
        moved = weights[:, None, None] * (likelihood.hessian(state) + likelihood.hessian_change(state, own_change))

        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            for rows, inputs, states, change in problem.perturbed(self.map_params, shift[None]):
                hessian_change = problem.in_basis(likelihood.hessian_change(states[:, :, 0], change[:, :, 0]))
                yield inputs, problem.weigh(hessian_change, rows)
            yield own, -problem.in_basis(moved)

        change = weighted_gram(blocks())
        if scale is not None:  # outputs do not meet in S where it changes as a whole
            rows = scale.repeat_interleave(shift.shape[1])[:, None]
            prior = problem.objective.prior(problem.total)
            change = rows * change + (rows - 1) * (self.precision - prior * torch.eye(len(rows), dtype=rows.dtype))
        change.diagonal().sub_(problem.objective.prior_drop(float(weights.sum())))
        flat = shift.flatten()
        quad = flat @ self.precision @ flat + flat @ change @ flat
        return self.kind.of(DenseComparison(self.factor, flat, change, quad[None]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class FullRemovalCurvature(Curvature):
    """Full posterior, its change in the removal form; build it with `full_removal_curvature`. Units are single samples.

    Where samples have weights, Λ′ is what is left when one of mean weight leaves, and what the ridge does alone goes with the
    square of the weight: both are right to relative O(1/N).

    Attributes:
        problem, map_params: where the posterior sits.
        precision: Λ in the directions that the loss sees (P', P').
        reduced_inverse: Λ′⁻¹, Λ′ = Λ − prior_drop·I.
        cross_inverse: Λ⁻¹Λ′⁻¹, or None where the prior does not drop.
        kind: of the divergence.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: FullPrecision
    reduced_inverse: Tensor
    cross_inverse: Tensor | None
    kind: Divergence = KULLBACK_LEIBLER

    @property
    def form(self) -> str:
        return REMOVAL_FORM

    def by(self, kind: Divergence) -> Self:
        return replace(self, kind=kind)

    def reference(self) -> Curvature:
        if self.precision.reduced.dtype == torch.float64:
            return self
        problem = self.problem
        hessian = problem.hessian(self.map_params, problem.objective.l2_without(problem.total, mean_weight(problem)))
        return full_removal_curvature(self.problem, self.map_params, hessian, invert(hessian)).by(self.kind)

    def exact(self, n_units: int) -> Curvature | None:
        affordable = exact_flop(self.problem.n_samples, self.problem.model.n_params, n_units) <= EXACT_FLOP
        return full_curvature(self.problem, self.map_params).by(self.kind) if affordable else None

    def divergence(self, removed: Removed) -> Terms:
        rows, shift = removed.units[:, 0], removed.shift
        inputs, weights = self.problem.inputs_of(rows), weight_of(self.problem, rows)
        root = self._root(inputs) * weights.sqrt()[:, None, None]
        gram = self._root_product(self.reduced_inverse, inputs, root)
        ridge_trace = gram.new_zeros(len(gram))
        if self.cross_inverse is not None:
            cross = self._root_product(self.cross_inverse, inputs, root)
            ridge_trace = torch.einsum("ncc->n", cross)
        projection = torch.einsum("nmc,nmk,nk->nc", root, shift.double(), inputs)
        share = weights / mean_weight(self.problem)

        def turned(matrix: Tensor) -> Tensor:
            return torch.einsum("nmc,mnp->ncp", root, influence_columns(matrix, inputs).flatten(2))

        change = FullChange(gram, ridge_trace, projection, share, turned)
        terms = self.kind.of(self.precision.compare(shift.flatten(1), change))
        return Terms(terms.mean, terms.curvature + prior_share(self.problem, weights, self.kind))

    def _root(self, inputs: Tensor) -> Tensor:
        """Vᵀ F (n, m, c), so that VᵀSV = (VᵀF)(VᵀF)ᵀ."""
        likelihood = self.problem.likelihood
        root = likelihood.hessian_root(self.problem.state_of(self.map_params, inputs))
        return torch.einsum("am,nac->nmc", likelihood.basis, root)

    def _root_product(self, matrix: Tensor, inputs: Tensor, root: Tensor) -> Tensor:
        """FᵀJᵀ·matrix·J F (n, c, c)."""
        return root.mT @ leverage(influence_columns(matrix, inputs), inputs) @ root


def exact_flop(n_samples: int, n_params: int, n_units: int) -> float:
    """Flop of the exact change for some units."""
    return n_units * (n_samples * float(n_params) ** 2 + 10.0 * float(n_params) ** 3)


def full_curvature(problem: LinearProblem, map_params: Tensor) -> FullCurvature:
    """Full GGN posterior at `map_params`, for exact changes."""
    precision = problem.hessian(map_params, problem.objective.prior(problem.total))
    return FullCurvature(problem, map_params, precision, torch.linalg.cholesky(precision))


def full_removal_curvature(
    problem: LinearProblem, map_params: Tensor, hessian: Tensor, inverse: Tensor
) -> FullRemovalCurvature:
    """Full GGN posterior at `map_params`, for changes in the removal form.

    Args:
        problem, map_params: where the posterior sits.
        hessian: (P', P') float64, GGN + l2_without·I for a mean weight; changed in place where the prior is another.
        inverse: its inverse, in the dtype of the large products.
    """
    objective, leaving = problem.objective, mean_weight(problem)
    drop, prior = objective.prior_drop(leaving), objective.prior(problem.total)
    ridge_gap = prior - drop - objective.l2_without(problem.total, leaving)
    if ridge_gap != 0:
        hessian.diagonal().add_(ridge_gap)
        inverse = invert(hessian)  # float64: a prior smaller than the weight decay conditions it worse than the fit
    with_ridge = hessian if drop == 0 else hessian + drop * torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    whole_inverse = None if drop == 0 else invert(with_ridge).to(inverse.dtype)
    precision = full_precision(hessian.to(inverse.dtype), drop, inverse if whole_inverse is None else whole_inverse)
    cross = None if whole_inverse is None else whole_inverse @ inverse
    return FullRemovalCurvature(problem, map_params, precision, inverse, cross)
