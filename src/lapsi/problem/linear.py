"""The linear problem: the data, a linear model, a likelihood and the objective, and the derivatives of their sum.

Everything here is in the sum form Σ_j loss_j + (l2/2)‖params‖². What leaves is a method of the problem: `remove` for a training
without it, `gradient_without` for the steps from the optimum of all to it. Legend of the indices: j sample, n units that leave,
g samples of a unit, c output, m direction of the basis, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lapsi.linalg.gram import weighted_gram
from lapsi.linalg.matmul import matmul
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.linear import LinearModel
from lapsi.models.mlp import Mlp
from lapsi.problem.base import Problem
from lapsi.problem.objective import Objective

BLOCK_BYTES = 32 * 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearProblem(Problem):
    """A linear model on N samples.

    Attributes:
        inputs: X (N, D) float64, its last column 1.
        targets: (N, …), one entry a sample, of the kind that the likelihood reads.
        likelihood: the loss.
        objective: weight decay, prior and removal convention.
        removed: (r,) the samples that have left, or None.
    """

    inputs: Tensor
    targets: Tensor
    likelihood: Likelihood
    objective: Objective
    removed: Tensor | None = None

    @property
    def model(self) -> LinearModel:
        """Shapes and forward pass."""
        return LinearModel(self.inputs.shape[1], self.likelihood.basis)

    @property
    def plain_model(self) -> Mlp:
        """The model in plain weights, for predictions."""
        return Mlp((self.inputs.shape[1], self.likelihood.n_outputs), ACTIVATIONS["relu"])

    def plain_params(self, params: Tensor) -> Tensor:
        """The weights (P,) of params (F, D)."""
        return self.model.weights(params).flatten()

    @property
    def n_samples(self) -> int:
        """Samples that are there."""
        return len(self.inputs) - (0 if self.removed is None else len(self.removed))

    def remove(self, rows: Tensor) -> LinearProblem:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""
        removed = rows if self.removed is None else torch.cat([self.removed, rows])
        return replace(self, removed=removed, objective=self.objective.without(self.n_samples, len(rows)))

    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (n, K) of samples `rows` (n,), there or not, under params (F, D)."""
        return self.model.outputs(params, self.inputs[rows])

    def mean_of(self, params: Tensor, inputs: Tensor) -> Tensor:
        """What the likelihood makes of the outputs (n, K) of rows `inputs` (n, D)."""
        return self.likelihood.mean(self.model.outputs(params, inputs))

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
        """Value and gradient (F, D) of Σ_j loss_j + (l2/2)‖params‖²."""
        l2 = self.objective.l2(self.n_samples)
        value = 0.5 * l2 * params.square().sum()
        gradient = l2 * params
        for rows, sign in self.present_blocks(8 * self.likelihood.n_outputs):
            inputs, targets = self.inputs[rows], self.targets[rows]
            outputs = self.model.outputs(params, inputs)
            value = value + sign * self.likelihood.loss(outputs, targets).sum()
            gradient = gradient + sign * self._backward(
                self.likelihood.residual(self.likelihood.mean(outputs), targets), inputs
            )
        return value, gradient

    def hessian(self, params: Tensor, l2: float) -> Tensor:
        """Σ_j (VᵀS_jV) ⊗ x_jx_jᵀ + l2·I, (P', P'); equal to the GGN plus l2·I."""
        return _add_ridge(weighted_gram(self._hessian_blocks(params)), l2)

    def start_hessian(self) -> Tensor:
        """XᵀX/K + l2·I (D, D): for the softmax one of the equal blocks of the Hessian at params = 0."""
        gram = self.inputs.T @ self.inputs / self.likelihood.n_outputs
        return _add_ridge(gram, self.objective.l2(self.n_samples))

    def in_basis(self, matrices: Tensor) -> Tensor:
        """VᵀSV (n, F, F) for matrices S (n, K, K)."""
        basis = self.likelihood.basis.to(matrices.dtype)
        return torch.einsum("am,iab,bn->imn", basis, matrices, basis)

    def gradient_without(self, units: Tensor, map_params: Tensor, shift: Tensor) -> Tensor:
        """Gradient of the objective without the samples units[n] at map_params + shift[n], in difference form.

        Σ_j (r_j(shift) − r_j)⊗x_j − Σ_i r_i(shift)⊗x_i + l2'·shift − (l2 − l2')·map_params. That the gradient of the whole
        objective at `map_params` is 0 has been used: both optima are shifted alike by what is left of it.

        Args:
            units: (n, g) the samples that leave together.
            map_params: (F, D) the optimum with all samples.
            shift: (n, F, D), in the dtype the products are computed in.
        """
        objective, n_left = self.objective, units.shape[1]
        gradient = objective.l2_without(self.n_samples, n_left) * shift
        gradient -= objective.l2_drop(n_left) * map_params.to(shift.dtype)
        by_output = shift.new_zeros(self.likelihood.n_outputs, len(units), self.inputs.shape[1])
        for inputs, _, change in self.perturbed(map_params, shift):
            by_output += matmul(change.flatten(1).T, inputs).view_as(by_output)
        basis = self.likelihood.basis
        gradient += torch.einsum("cnk,cm->nmk", by_output, basis.to(shift.dtype))
        own_inputs = self.inputs[units]
        own_outputs = self.model.outputs(map_params, own_inputs) + self.own_output_change(units, shift)
        own = self.likelihood.residual(self.likelihood.mean(own_outputs), self.targets[units])
        return gradient - torch.einsum("ngc,cm,ngk->nmk", own, basis, own_inputs).to(shift.dtype)

    def perturbed(self, map_params: Tensor, shift: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), mean (b, K, 1) and change of the residual (b, K, n) under n shifts."""
        for inputs, mean, output_change in self.output_changes(map_params, shift):
            yield inputs, mean, self.likelihood.residual_change(mean, output_change, axis=1)

    def output_changes(self, map_params: Tensor, shift: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), mean (b, K, 1) and how the outputs move (b, K, n) under n shifts."""
        n_shifts, n_outputs = len(shift), self.likelihood.n_outputs
        weights = self.model.weights(shift).transpose(0, 1).flatten(0, 1)
        for rows in self.row_blocks(shift.element_size() * (4 * n_shifts * n_outputs + self.inputs.shape[1])):
            inputs = self.inputs[rows]
            mean = self.mean_of(map_params, inputs).to(shift.dtype)[:, :, None]
            inputs = inputs.to(shift.dtype)
            yield inputs, mean, matmul(inputs, weights.T).view(len(inputs), n_outputs, n_shifts)

    def own_change(self, units: Tensor, map_params: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (n, g, D) and mean (n, g, K) of the samples that leave, and how their own outputs move (n, g, K)."""
        inputs = self.inputs[units]
        return inputs, self.mean_of(map_params, inputs), self.own_output_change(units, shift)

    def own_output_change(self, units: Tensor, shift: Tensor) -> Tensor:
        """Δz_i(x_i) = ΔW_i x_i (n, g, K) float64: how the outputs of what leaves move."""
        own = torch.einsum("nmk,ngk->ngm", shift, self.inputs[units].to(shift.dtype))
        return own.double() @ self.likelihood.basis.T

    def _backward(self, output_gradient: Tensor, inputs: Tensor) -> Tensor:
        return (output_gradient @ self.likelihood.basis).T @ inputs

    def _hessian_blocks(self, params: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, sign in self.present_blocks(max(16 * self.model.n_params, 8 * self.likelihood.n_outputs**2)):
            inputs = self.inputs[rows]
            yield inputs, sign * self.in_basis(self.likelihood.hessian(self.mean_of(params, inputs)))


def _add_ridge(matrix: Tensor, ridge: float) -> Tensor:
    matrix.diagonal().add_(ridge)
    return matrix
