"""The linear problem: the data, a linear model, a likelihood and the objective, and the derivatives of their sum.

Everything here is in the sum form Σ_j a_j loss_j + (l2/2)‖params‖². What leaves is a method of the problem: `remove` for a
training without it, `gradient_without` for the steps from the optimum of all to it. Legend of the indices: j sample, n units
that leave, g samples of a unit, c output, m direction of the basis, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lapsi.linalg.gram import square, weighted_gram
from lapsi.linalg.matmul import matmul
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.base import Likelihood, weighted
from lapsi.models.linear import LinearModel
from lapsi.models.mlp import Mlp
from lapsi.problem.base import ProbeProblem, total_weight, weight_of
from lapsi.problem.objective import Objective

BLOCK_BYTES = 32 * 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearProblem(ProbeProblem):
    """A linear model on N samples.

    Attributes:
        inputs: X (N, D), its last column 1; or its coordinates in the span of its rows. In float64, or float32 where they are
            large: what is computed of them is float64 (`inputs_of`).
        targets: (N, …), one entry a sample, of the kind that the likelihood reads.
        likelihood: the loss.
        objective: weight decay, prior and removal convention.
        weights: a (N,) float64, or None where each sample counts once.
        removed: (r,) the samples that have left, or None.
        span: (D, d) in which the inputs are coordinates; None where they are plain.
    """

    inputs: Tensor
    targets: Tensor
    likelihood: Likelihood
    objective: Objective
    weights: Tensor | None = None
    removed: Tensor | None = None
    span: Tensor | None = None

    @property
    def model(self) -> LinearModel:
        """Shapes and forward pass."""
        return LinearModel(self.inputs.shape[1], self.likelihood.basis, self.span)

    def in_outputs(self) -> LinearProblem:
        """The same whose params are plain weights (K, D); the L2 term alone holds what the loss does not see of them."""
        return replace(self, likelihood=self.likelihood.in_outputs())

    @property
    def plain_model(self) -> Mlp:
        """The model in plain weights, for predictions."""
        return Mlp((self.model.n_plain_features, self.likelihood.n_outputs), ACTIVATIONS["relu"])

    def plain_params(self, params: Tensor) -> Tensor:
        """The weights (P,) of params (F, D)."""
        return self.model.weights(params).flatten()

    def plain_inputs(self, rows: slice | Tensor) -> Tensor:
        """Inputs (n, d) of samples `rows`, as `plain_model` reads them."""
        return self.model.plain(self.inputs_of(rows))

    @property
    def n_samples(self) -> int:
        """Samples that are there."""
        return len(self.inputs) - (0 if self.removed is None else len(self.removed))

    @property
    def total(self) -> float:
        """W, the sum of their weights."""
        return total_weight(self.weights, len(self.inputs), self.removed)

    def remove(self, rows: Tensor) -> LinearProblem:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""
        removed = rows if self.removed is None else torch.cat([self.removed, rows])
        leaving = float(weight_of(self, rows).sum())
        return replace(self, removed=removed, objective=self.objective.without(self.total, leaving))

    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (n, K) of samples `rows` (n,), there or not, under params (F, D)."""
        return self.model.outputs(params, self.inputs_of(rows))

    def inputs_of(self, rows: slice | Tensor) -> Tensor:
        """Inputs (…, D) float64 of samples `rows` (…)."""
        return self.inputs[rows].double()

    def gram(self) -> Tensor:
        """Σ_j a_j x_jx_jᵀ (D, D) float64."""
        return square(self.inputs, self.weights)

    def states(self, params: Tensor, dtype: torch.dtype) -> Tensor:
        """`state_of` all samples (N, K) in a dtype."""
        states = torch.empty(len(self.inputs), self.likelihood.n_outputs, dtype=dtype, device=self.inputs.device)
        for rows in self.row_blocks(8 * (self.inputs.shape[1] + 4 * self.likelihood.n_outputs)):
            states[rows] = self.state_of(params, self.inputs_of(rows))
        return states

    def state_of(self, params: Tensor, inputs: Tensor) -> Tensor:
        """What the likelihood makes of the outputs (n, K) of rows `inputs` (n, D)."""
        return self.likelihood.state(self.model.outputs(params, inputs))

    def weights_of(self, rows: slice | Tensor) -> Tensor | None:
        """Weights of samples `rows` (b,), or None where each counts once."""
        return None if self.weights is None else self.weights[rows]

    def weigh(self, values: Tensor, rows: slice | Tensor) -> Tensor:
        """`values` (b, …) of samples `rows` times their weights."""
        return weighted(values, self.weights_of(rows))

    def row_blocks(self, row_bytes: int) -> Iterator[slice]:
        """Slices of all samples whose working set, at `row_bytes` a sample, stays within a fixed size."""
        size, n_rows = max(16, BLOCK_BYTES // max(1, row_bytes)), len(self.inputs)
        for start in range(0, n_rows, size):
            yield slice(start, min(start + size, n_rows))

    def present_blocks(self, row_bytes: int) -> Iterator[tuple[slice | Tensor, int]]:
        """`row_blocks` that count 1, then the samples that have left, which count −1."""
        for rows in self.row_blocks(row_bytes):
            yield rows, 1
        if self.removed is not None:
            yield self.removed, -1

    def value_and_gradient(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient (F, D) of Σ_j a_j loss_j + (l2/2)‖params‖²."""
        l2 = self.objective.l2(self.total)
        value = 0.5 * l2 * params.square().sum()
        gradient = l2 * params
        for rows, sign in self.present_blocks(8 * self.likelihood.n_outputs):
            inputs, targets = self.inputs_of(rows), self.targets[rows]
            outputs = self.model.outputs(params, inputs)
            value = value + sign * self.weigh(self.likelihood.loss(outputs, targets), rows).sum()
            residual = self.weigh(self.likelihood.residual(self.likelihood.state(outputs), targets), rows)
            gradient = gradient + sign * self._backward(residual, inputs)
        return value, gradient

    def hessian(self, params: Tensor, l2: float, dtype: torch.dtype = torch.float64) -> Tensor:
        """Σ_j a_j (VᵀS_jV) ⊗ x_jx_jᵀ + l2·I, (P', P'); equal to the GGN plus l2·I.

        Summed in `dtype`; in float32 it is off by some 1e-7 of its largest entries. Few features of many outputs are summed in
        outputs, and only the sum is taken to the basis.
        """
        n_outputs, n_directions, n_features = self.likelihood.n_outputs, self.model.n_directions, self.model.n_features
        if sums_in_basis(n_outputs, n_directions, n_features):
            return _add_ridge(weighted_gram(self._hessian_blocks(params, dtype, in_basis=True)), l2)
        whole = weighted_gram(self._hessian_blocks(params, dtype, in_basis=False))
        whole, basis = whole.view(n_outputs, n_features, n_outputs, n_features), self.likelihood.basis.to(dtype)
        return _add_ridge(torch.einsum("am,akbl,bn->mknl", basis, whole, basis).reshape([self.model.n_params] * 2), l2)

    def start_variance(self) -> float:
        """v, the mean variance at z = 0."""
        nothing = self.likelihood.basis.new_zeros(1, self.likelihood.n_outputs)
        total = self.likelihood.hessian_sum(self.likelihood.state(nothing), None).trace()
        return float(total) / self.model.n_directions

    def start_hessian(self) -> Tensor:
        """v·XᵀAX + l2·I (D, D): the Hessian at params = 0, or about one of its equal blocks."""
        return _add_ridge(self.start_variance() * self.gram(), self.objective.l2(self.total))

    def in_basis(self, matrices: Tensor) -> Tensor:
        """VᵀSV (n, F, F) for matrices S (n, K, K)."""
        basis = self.likelihood.basis.to(matrices.dtype)
        return torch.einsum("am,iab,bn->imn", basis, matrices, basis)

    def gradient_without(self, units: Tensor, map_params: Tensor, shift: Tensor) -> Tensor:
        """Gradient of the objective without the samples units[n] at map_params + shift[n], in difference form.

        Σ_j a_j (r_j(shift) − r_j)⊗x_j, and what `leaving_gradient` gives. That the gradient of the whole objective at
        `map_params` is 0 has been used: both optima are shifted alike by what is left of it.

        Args:
            units: (n, g) the samples that leave together, some of them `PADDING`.
            map_params: (F, D) the optimum with all samples.
            shift: (n, F, D), in the dtype the products are computed in.
        """
        likelihood, seen = self.likelihood, self.likelihood.relative(self.likelihood.basis)
        by_output = shift.new_zeros(len(seen), len(units), self.inputs.shape[1])
        for rows, inputs, state, output_change in self.output_changes(map_params, shift, seen):
            change = likelihood.residual_change(state, output_change, axis=1, out=output_change)
            by_output += matmul(change.flatten(1).T, self.weigh(inputs, rows)).view_as(by_output)
        others = torch.einsum("cnk,cm->nmk", by_output, seen.to(shift.dtype))
        return others + self.leaving_gradient(units, map_params, shift)

    def leaving_gradient(self, units: Tensor, map_params: Tensor, shift: Tensor) -> Tensor:
        """The part of `gradient_without` that takes no pass over the data, and all of it where the shift is 0.

        −Σ_i a_i r_i(shift)⊗x_i + l2'·shift − (l2 − l2')·map_params.
        """
        objective, weights = self.objective, weight_of(self, units)
        left = weights.sum(1).to(shift.dtype)[:, None, None]
        gradient = objective.l2_without(self.total, left) * shift
        gradient -= objective.l2_drop(left) * map_params.to(shift.dtype)
        own_inputs = self.inputs_of(units)
        own_outputs = self.model.outputs(map_params, own_inputs) + self.own_output_change(units, shift)
        own = weights[..., None] * self.likelihood.residual(self.likelihood.state(own_outputs), self.targets[units])
        return gradient - torch.einsum("ngc,cm,ngk->nmk", own, self.likelihood.basis, own_inputs).to(shift.dtype)

    def hessian_product(self, units: Tensor, params: Tensor, vectors: Tensor) -> Tensor:
        """The Hessian at params (F, D) of the objective without the samples units[n] (n, g), times vectors[n] (n, F, D).

        Nor with those that have left. In the dtype of the vectors; no matrix of the parameters is made.
        """
        likelihood, basis = self.likelihood, self.likelihood.basis
        by_output = vectors.new_zeros(len(basis), len(units), self.inputs.shape[1])
        for rows, inputs, state, output_change in self.output_changes(params, vectors, basis):
            slope = likelihood.residual_derivative(state, output_change, axis=1)
            by_output += matmul(slope.flatten(1).T, self.weigh(inputs, rows)).view_as(by_output)
        leaving = units if self.removed is None else torch.cat([units, self.removed.expand(len(units), -1)], 1)
        inputs, state, output_change = self.own_change(leaving, params, vectors)
        own = weight_of(self, leaving)[..., None] * likelihood.residual_derivative(state, output_change)
        weight = weight_of(self, units).sum(1).to(vectors.dtype)
        left = self.objective.l2_without(self.total, weight)[:, None, None] * vectors
        own_product = torch.einsum("ngc,cm,ngk->nmk", own, basis, inputs).to(vectors.dtype)
        return torch.einsum("cnk,cm->nmk", by_output, basis.to(vectors.dtype)) + left - own_product

    def perturbed(self, map_params: Tensor, shift: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), state (b, K, 1) and change of the residual (b, K, n) under n shifts."""
        for rows, inputs, state, output_change in self.output_changes(map_params, shift, self.likelihood.basis):
            yield rows, inputs, state, self.likelihood.residual_change(state, output_change, axis=1)

    def output_changes(
        self, map_params: Tensor, shift: Tensor, basis: Tensor
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), state (b, K, 1) and how the outputs move (b, K, n) under n shifts.

        `basis`: that of the likelihood (K, F), or its image under `relative`, and so are the moves of the outputs.
        """
        n_shifts, n_outputs = len(shift), len(basis)
        weights = torch.einsum("cm,nmk->cnk", basis.to(shift.dtype), shift).flatten(0, 1)
        for rows in self.row_blocks(shift.element_size() * (4 * n_shifts * n_outputs + self.inputs.shape[1])):
            inputs = self.inputs_of(rows)
            state = self.state_of(map_params, inputs).to(shift.dtype)[:, :, None]
            inputs = inputs.to(shift.dtype)
            yield rows, inputs, state, matmul(inputs, weights.T).view(len(inputs), n_outputs, n_shifts)

    def own_change(self, units: Tensor, map_params: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (n, g, D) and state (n, g, K) of the samples that leave, and how their own outputs move (n, g, K)."""
        inputs = self.inputs_of(units)
        return inputs, self.state_of(map_params, inputs), self.own_output_change(units, shift)

    def own_output_change(self, units: Tensor, shift: Tensor) -> Tensor:
        """Δz_i(x_i) = ΔW_i x_i (n, g, K) float64: how the outputs of what leaves move."""
        own = torch.einsum("nmk,ngk->ngm", shift, self.inputs[units].to(shift.dtype))
        return own.double() @ self.likelihood.basis.T

    def _backward(self, output_gradient: Tensor, inputs: Tensor) -> Tensor:
        return (output_gradient @ self.likelihood.basis).T @ inputs

    def _hessian_blocks(self, params: Tensor, dtype: torch.dtype, *, in_basis: bool) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, sign in self.present_blocks(max(16 * self.model.n_params, 4 * 8 * self.likelihood.n_outputs**2)):
            inputs = self.inputs_of(rows)
            hessians = self.likelihood.hessian(self.state_of(params, inputs))
            weights = sign * self.weigh(self.in_basis(hessians) if in_basis else hessians, rows)
            yield inputs.to(dtype), weights.to(dtype)


def sums_in_basis(n_outputs: int, n_directions: int, n_features: int) -> bool:
    """Whether the Hessian is summed in the basis: taking each sample there costs less than the larger sum in outputs."""
    return (n_outputs**2 - n_directions**2) * n_features**2 >= n_outputs**2 * n_directions


def _add_ridge(matrix: Tensor, ridge: float) -> Tensor:
    matrix.diagonal().add_(ridge)
    return matrix
