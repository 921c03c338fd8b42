"""Kronecker-factored GGN of the linear model's one layer: Λ = B ⊗ G + δI, B = mean of VᵀSV (F, F), G = XᵀAX (D, D).

In the directions that the loss does not see Λ is δI: they stand aside, so that no rounding of a 0 in B meets a large G.

Legend of the indices: n unit that leaves, g its samples, j other samples, a b output, m direction, l feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.curvature.prior import prior_share
from lapsi.linalg.matmul import matmul
from lapsi.precision.base import Terms, joined
from lapsi.precision.divergence import KULLBACK_LEIBLER, Divergence
from lapsi.precision.kron import KronChange, KronPrecision, kron_precision
from lapsi.precision.kron_joint import JointChange, JointComparison
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed

PART_ENTRIES = 2**18


class HessianSlope(ABC):
    """How the sum of the Hessians of all samples moves with the parameters, to first order."""

    @abstractmethod
    def change(self, shift: Tensor) -> Tensor:
        """Change (n, K, K) float64 of Σ_j a_j S_j under shifts (n, F, D)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseHessianSlope(HessianSlope):
    """The whole derivative T (K(K+1)/2, P') = ∂(Σ_j a_j S_j)/∂params, the entries a ≤ b of S; float64."""

    derivative: Tensor
    n_outputs: int

    def change(self, shift: Tensor) -> Tensor:
        first, second = _pairs(self.n_outputs, shift.device)
        change = self.derivative.new_zeros(len(shift), self.n_outputs, self.n_outputs)
        moved = matmul(shift.flatten(1).to(self.derivative.dtype), self.derivative.T)
        change[:, first, second] = change[:, second, first] = moved
        return change


@final
@dataclass(frozen=True, slots=True, eq=False)
class StreamedHessianSlope(HessianSlope):
    """A pass over the data in the place of a matrix.

    Attributes:
        problem, map_params: where the derivative is taken.
    """

    problem: LinearProblem
    map_params: Tensor

    def change(self, shift: Tensor) -> Tensor:
        likelihood, shift = self.problem.likelihood, shift.double()
        change = shift.new_zeros(len(shift), likelihood.n_outputs, likelihood.n_outputs)
        for rows, _, state, output_change in self.problem.output_changes(self.map_params, shift, likelihood.basis):
            slope = likelihood.residual_derivative(state, output_change, axis=1)
            change += likelihood.hessian_derivative_sum(state, slope, self.problem.weights_of(rows))
        return change


@final
@dataclass(frozen=True, slots=True, eq=False)
class KronCurvature(Curvature):
    """Kronecker-factored posterior; build it with `kron_curvature`.

    Attributes:
        problem, map_params: where the posterior sits.
        precision: B ⊗ G + δI.
        slope: through which the change of Σ_j a_j S_j is linear in the shift.
        kind: of the divergence.
    """

    problem: LinearProblem
    map_params: Tensor
    precision: KronPrecision
    slope: HessianSlope
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
        """A few units at a time, so that arrays (n, K, K) stay small, and blocks of rows under n shifts long."""
        size = max(1, PART_ENTRIES // self.problem.likelihood.n_outputs**2)
        units, shifts, scale = removed.units.split(size), removed.shift.split(size), removed.hessian_scale
        scales = [None] * len(units) if scale is None else scale.split(size)
        return joined([self._divergence(*part, removed.is_settled) for part in zip(units, shifts, scales, strict=True)])

    def _divergence(self, units: Tensor, shift: Tensor, scale: Tensor | None, is_settled: bool) -> Terms:
        likelihood, weights = self.problem.likelihood, weight_of(self.problem, units)
        inputs, state, output_change = self.problem.own_change(units, self.map_params, shift)
        if is_settled:
            moved = likelihood.hessian_change(state, likelihood.residual_change(state, output_change))
            others = self._hessian_change_sum(shift)
        else:
            moved = likelihood.hessian_derivative(state, likelihood.residual_derivative(state, output_change))
            others = self.slope.change(shift)
        own = (weights[..., None, None] * (likelihood.hessian(state) + moved)).sum(1)
        change = others - own
        if scale is not None:  # outputs do not meet in S where it changes as a whole
            growth = self.problem.total * (scale - 1)
            change = scale[:, :, None] * change + growth[:, :, None] * self.precision.output_factor
        return self._terms(shift, change, inputs, weights)

    def _hessian_change_sum(self, shift: Tensor) -> Tensor:
        """Change (n, K, K) float64 of Σ_j a_j S_j over all samples at the shifted parameters, by a pass over them."""
        likelihood = self.problem.likelihood
        others = shift.new_zeros(len(shift), likelihood.n_outputs, likelihood.n_outputs)
        for rows, _, state, change in self.problem.perturbed(self.map_params, shift):
            others += likelihood.hessian_change_sum(state, change, self.problem.weights_of(rows))
        return others.double()

    def _terms(self, shift: Tensor, change: Tensor, inputs: Tensor, weights: Tensor) -> Terms:
        """(W−a)·ΔB = a·B + `change`, what Σ_j a_j S_j over all samples changes by less what leaves, a its weight."""
        leaving, shift = weights.sum(1), shift.flatten(1).double()
        kept = leaving[:, None, None] * self.precision.output_factor
        output_change = (kept + self.problem.in_basis(change)) / (self.problem.total - leaving)[:, None, None]
        drops = self.problem.objective.prior_drop(leaving)
        inputs = inputs * weights.sqrt()[..., None]
        if inputs.shape[1] == 1:
            terms = self._single(shift, output_change, inputs[:, 0], drops)
        elif inputs.shape[1] * self.problem.model.n_directions <= inputs.shape[2]:
            terms = self._joint(shift, JointChange(inputs, output_change, drops))
        else:
            terms = joined([self._pair(*parts) for parts in zip(shift, output_change, inputs, drops.tolist(), strict=True)])
        return Terms(terms.mean, terms.curvature + prior_share(self.problem, leaving, self.kind))

    def _single(self, shift: Tensor, output_change: Tensor, inputs: Tensor, drops: Tensor) -> Terms:
        """For units of one sample, all of one drop of the prior at once."""
        order, terms = [], []
        for drop in drops.unique().tolist():
            rows = torch.nonzero(drops == drop).flatten()
            change = KronChange(inputs[rows], output_change[rows], drop)
            terms.append(self.kind.of(self.precision.compare(shift[rows], change)))
            order.append(rows)
        found, places = joined(terms), torch.cat(order).argsort()
        return Terms(found.mean[..., places], found.curvature[..., places])

    def _joint(self, shift: Tensor, change: JointChange) -> Terms:
        """For units of few samples; where they take so much of G that this has no digits, as for many."""
        terms = self.kind.of(JointComparison(self.precision, shift, change))
        for row in torch.nonzero(~terms.total.isfinite()).flatten().tolist():
            one = self._pair(shift[row], change.output_change[row], change.removed[row], float(change.prior_drop[row]))
            terms.mean[row], terms.curvature[row] = one.mean[0], one.curvature[0]
        return terms

    def _pair(self, shift: Tensor, output_change: Tensor, inputs: Tensor, drop: float) -> Terms:
        """For a unit of so many samples that the eigenvalues of what is left of G take less than its change."""
        whole = self.precision
        output, inner = whole.output_factor + output_change, whole.input_factor - inputs.T @ inputs
        return self.kind.of(whole.compare_to(shift, kron_precision(output, inner, whole.prior - drop)))


def kron_curvature(problem: LinearProblem, map_params: Tensor, slope: HessianSlope | None = None) -> KronCurvature:
    """Kronecker-factored GGN posterior at `map_params`, float64; a pass over the data is the slope where none is given."""
    likelihood = problem.likelihood
    output_sum = map_params.new_zeros(likelihood.n_outputs, likelihood.n_outputs)
    for rows in problem.row_blocks(8 * 4 * likelihood.n_outputs):
        output_sum += likelihood.hessian_sum(problem.state_of(map_params, problem.inputs_of(rows)), problem.weights_of(rows))
    output_factor = problem.in_basis(output_sum[None])[0] / problem.total
    gram = problem.gram()
    precision = kron_precision(output_factor, gram, problem.objective.prior(problem.total))
    return KronCurvature(problem, map_params, precision, slope or StreamedHessianSlope(problem, map_params))


def dense_hessian_slope(problem: LinearProblem, map_params: Tensor) -> DenseHessianSlope:
    """T at `map_params`, direction by direction."""
    likelihood = problem.likelihood
    first, second = _pairs(likelihood.n_outputs, map_params.device)
    entries = first * likelihood.n_outputs + second
    total = map_params.new_zeros(len(first), *map_params.shape)
    for rows in problem.row_blocks(8 * 16 * likelihood.n_outputs**2):
        inputs = problem.inputs_of(rows)
        state = problem.state_of(map_params, inputs)
        for m, direction in enumerate(likelihood.basis.T):
            slopes = likelihood.hessian_derivative(state, likelihood.residual_derivative(state, direction))
            total[:, m] += matmul(slopes.flatten(1).index_select(1, entries).T, problem.weigh(inputs, rows))
    return DenseHessianSlope(total.flatten(1), likelihood.n_outputs)


def _pairs(n_outputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The outputs a ≤ b of each entry of T."""
    first, second = torch.triu_indices(n_outputs, n_outputs, device=device)
    return first, second
