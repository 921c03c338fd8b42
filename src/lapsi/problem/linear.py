"""What a leave-one-out engine receives: the data, the probe and the objective, and the two derivatives of their sum.

Everything here is in the sum form Σ_j loss_j + (l2/2)‖params‖². "Remove sample i" is a method of the problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lapsi.data.dataset import Dataset, Standardizer
from lapsi.linalg.matmul import matmul
from lapsi.models.likelihoods.softmax import logit_hessian, probability_change, residual
from lapsi.models.linear import LinearProbe, linear_probe, weighted_gram
from lapsi.problem.objective import Objective
from lapsi.settings.settings import Settings

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Problem:
    """A linear softmax probe on N labelled samples.

    Attributes:
        inputs: X (N, D) float64, its last column 1.
        labels: y (N,) int64 in 0…C−1.
        probe: shapes and forward pass.
        objective: weight decay, prior and removal convention.
    """

    inputs: Tensor
    labels: Tensor
    probe: LinearProbe
    objective: Objective

    @property
    def n_samples(self) -> int:
        """N."""
        return self.inputs.shape[0]

    def row_blocks(self, row_bytes: int) -> Iterator[slice]:
        """Slices of samples whose working set, at `row_bytes` a sample, stays within a fixed size."""
        size = max(16, BLOCK_BYTES // max(1, row_bytes))
        for start in range(0, self.n_samples, size):
            yield slice(start, min(start + size, self.n_samples))

    def probabilities_of(self, params: Tensor, inputs: Tensor) -> Tensor:
        """softmax of the logits (n, C) of rows `inputs` (n, D)."""
        return torch.softmax(self.probe.logits(params, inputs), -1)

    def without(self, indices: Tensor) -> Problem:
        """The problem that a retraining without the samples `indices` (g,) solves, its data copied."""
        keep = torch.ones(self.n_samples, dtype=torch.bool, device=self.labels.device)
        keep[indices] = False
        n_left = self.n_samples - len(indices)
        objective = replace(self.objective, weight_decay=self.objective.l2_without(self.n_samples, len(indices)) / n_left)
        return Problem(self.inputs[keep], self.labels[keep], self.probe, objective)

    def only(self, indices: Tensor) -> Problem:
        """The same with the samples `indices` (g,) alone, their data copied."""
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices])

    def value_and_gradient(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient (C−1, D) of Σ_j loss_j + (l2/2)‖params‖²."""
        l2 = self.objective.l2(self.n_samples)
        value = 0.5 * l2 * params.square().sum()
        gradient = l2 * params
        for rows in self.row_blocks(8 * self.probe.n_classes):
            inputs, labels = self.inputs[rows], self.labels[rows]
            log_probabilities = torch.log_softmax(self.probe.logits(params, inputs), -1)
            value = value - log_probabilities.gather(1, labels[:, None]).sum()
            gradient = gradient + self._backward(residual(log_probabilities.exp(), labels), inputs)
        return value, gradient

    def hessian(self, params: Tensor, l2: float) -> Tensor:
        """Σ_j (VᵀS_jV) ⊗ x_jx_jᵀ + l2·I, (P', P'); equal to the GGN plus l2·I."""
        return _add_ridge(weighted_gram(self._hessian_blocks(params)), l2)

    def start_hessian(self) -> Tensor:
        """XᵀX/C + l2·I (D, D): one of the C−1 equal blocks of the Hessian at params = 0."""
        gram = self.inputs.T @ self.inputs / self.probe.n_classes
        return _add_ridge(gram, self.objective.l2(self.n_samples))

    def hessian_flop(self) -> float:
        """Flop of `hessian`."""
        n_free = self.probe.n_free_params
        return 0.625 * self.n_samples * n_free * (n_free + self.probe.n_features)

    def to_contrasts(self, matrices: Tensor) -> Tensor:
        """VᵀSV (n, C−1, C−1) for matrices S (n, C, C)."""
        basis = self.probe.basis.to(matrices.dtype)
        return torch.einsum("am,iab,bn->imn", basis, matrices, basis)

    def gradient_without(self, indices: Tensor, map_params: Tensor, shift: Tensor) -> Tensor:
        """Gradient of the objective without sample i at map_params + shift_i, in difference form (MATH §5).

        Σ_j (p_j(shift) − p_j)⊗x_j − r_i(shift)⊗x_i + l2'·shift − (l2 − l2')·map_params. That the gradient of the
        whole objective at `map_params` is 0 has been used: both optima are shifted alike by what is left of it.

        Args:
            indices: (n,) the samples removed.
            map_params: (C−1, D) the optimum with all samples.
            shift: (n, C−1, D), in the dtype the products are computed in.
        """
        objective = self.objective
        gradient = objective.l2_without(self.n_samples) * shift - objective.l2_drop() * map_params.to(shift.dtype)
        in_classes = shift.new_zeros(self.probe.n_classes, len(indices), self.probe.n_features)
        for inputs, _, change in self.perturbed(map_params, shift):
            in_classes += matmul(change.flatten(1).T, inputs).view_as(in_classes)
        gradient += torch.einsum("cnk,cm->nmk", in_classes, self.probe.basis.to(shift.dtype))
        own_inputs = self.inputs[indices]
        own_logits = self.probe.logits(map_params, own_inputs) + self.own_logit_change(indices, shift)
        own = residual(torch.softmax(own_logits, -1), self.labels[indices])
        return gradient - torch.einsum("nc,cm,nk->nmk", own, self.probe.basis, own_inputs).to(shift.dtype)

    def gradient_without_group(self, indices: Tensor, map_params: Tensor, shift: Tensor) -> Tensor:
        """The same for the samples `indices` (g,) that leave together, and one shift (C−1, D)."""
        objective = self.objective
        gradient = objective.l2_without(self.n_samples, len(indices)) * shift - objective.l2_drop(len(indices)) * map_params
        for inputs, _, change in self.perturbed(map_params, shift[None]):
            gradient += self._backward(change[:, :, 0], inputs)
        group = self.only(indices)
        own = residual(self.probabilities_of(map_params + shift, group.inputs), group.labels)
        return gradient - self._backward(own, group.inputs)

    def perturbed(self, map_params: Tensor, shift: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), probabilities (b, C, 1) and their change (b, C, n) under n shifts."""
        for inputs, probabilities, logit_change in self.logit_changes(map_params, shift):
            yield inputs, probabilities, probability_change(probabilities, logit_change, class_axis=1)

    def logit_changes(self, map_params: Tensor, shift: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every block of rows: inputs (b, D), probabilities (b, C, 1) and how the logits move (b, C, n) under n shifts."""
        n_shifts, n_classes = len(shift), self.probe.n_classes
        weights = self.probe.weights(shift).transpose(0, 1).flatten(0, 1)
        for rows in self.row_blocks(shift.element_size() * (4 * n_shifts * n_classes + self.probe.n_features)):
            inputs = self.inputs[rows]
            probabilities = self.probabilities_of(map_params, inputs).to(shift.dtype)[:, :, None]
            inputs = inputs.to(shift.dtype)
            yield inputs, probabilities, matmul(inputs, weights.T).view(len(inputs), n_classes, n_shifts)

    def own_change(self, indices: Tensor, map_params: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (n, D) and probabilities (n, C) of each removed sample, and how its own logits move (n, C)."""
        inputs = self.inputs[indices]
        return inputs, self.probabilities_of(map_params, inputs), self.own_logit_change(indices, shift)

    def own_logit_change(self, indices: Tensor, shift: Tensor) -> Tensor:
        """Δz_i(x_i) = ΔW_i x_i (n, C) float64: how each removed sample's own logits move."""
        own = torch.einsum("nmk,nk->nm", shift, self.inputs[indices].to(shift.dtype))
        return own.double() @ self.probe.basis.T

    def _backward(self, logit_gradient: Tensor, inputs: Tensor) -> Tensor:
        return (logit_gradient @ self.probe.basis).T @ inputs

    def _hessian_blocks(self, params: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.row_blocks(max(16 * self.probe.n_free_params, 8 * self.probe.n_classes**2)):
            inputs = self.inputs[rows]
            yield inputs, self.to_contrasts(logit_hessian(self.probabilities_of(params, inputs)))


def linear_problem(dataset: Dataset, standardizer: Standardizer, settings: Settings, device: torch.device) -> Problem:
    """The problem of the linear probe on a data set."""
    inputs = torch.from_numpy(standardizer.inputs(dataset.features)).to(device)
    labels = torch.from_numpy(dataset.labels).to(device)
    objective = Objective(settings.weight_decay, settings.prior_precision, settings.removal)
    return Problem(inputs, labels, linear_probe(inputs.shape[1], dataset.n_classes, device), objective)


def _add_ridge(matrix: Tensor, ridge: float) -> Tensor:
    matrix.diagonal().add_(ridge)
    return matrix
