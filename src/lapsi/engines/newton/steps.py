"""One exact Newton step of the objective without a sample, by the whole inverse Hessian (docs/math.md, Leave-one-out).

With H the Hessian at the L2 strength that is left, J = V ⊗ x_i and K = JᵀH⁻¹J, r and S of the sample times its weight:
    shift = (H − J S Jᵀ)⁻¹ (r_i ⊗ x_i + Δl2·params) = H⁻¹b + Y S (I − K S)⁻¹ JᵀH⁻¹b,  Y = H⁻¹J.

It is the one-step approximate leave-one-out of Pregibon (1981) and Rad and Maleki (2020). Legend of the indices: n sample that
leaves, m direction of the basis, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from lapsi.engines.removal.base import Compared, Removal, Step
from lapsi.linalg.matmul import matmul
from lapsi.linalg.woodbury import combine, downdate, influence_columns, leverage, reaction
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.training.krylov import refitted

CHUNK_BYTES = 384 * 2**20
PROBE_TOLERANCE = 1e-4
PART_UNITS = 2048  # a minute or less on one core


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseStep(Step):
    """By the whole inverse Hessian.

    Attributes:
        problem: with all samples.
        params: (F, D) its optimum.
        inverse: H⁻¹ (P', P'), in the dtype of the large products.
    """

    problem: LinearProblem
    params: Tensor
    inverse: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.inverse.dtype

    @property
    def is_whole(self) -> bool:
        return True

    @property
    def leaves_out(self) -> bool:
        return False

    @property
    def probe_tolerance(self) -> float:
        return PROBE_TOLERANCE

    @property
    def part_units(self) -> int:
        return PART_UNITS

    def removal(self, rows: Tensor) -> DenseRemoval:
        return self.removal_into(rows, None)

    def chunks(self, rows: Tensor) -> Iterator[tuple[np.ndarray, Removal]]:
        """In the order of `rows`; chunks share one workspace."""
        size = min(len(rows), self.at_once(self.dtype))
        workspace = self.inverse.new_empty(self.problem.model.n_directions, size, len(self.inverse))
        for start in range(0, len(rows), size):
            removal = self.removal_into(rows[start : start + size], workspace)
            yield np.arange(start, start + len(removal.rows)), removal

    def alike(self, rows: Tensor) -> Tensor:
        return torch.arange(len(rows), device=rows.device)

    def compared(self, change: Tensor, shift: Tensor) -> Compared:
        """By their norms: steps contract fast."""
        size = (change.flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1)).double()
        return Compared(size, torch.ones_like(size))

    def at_once(self, dtype: torch.dtype) -> int:
        model = self.problem.model
        return samples_at_once(model.n_outputs, model.n_weights, dtype.itemsize)

    def removal_into(self, rows: Tensor, workspace: Tensor | None) -> DenseRemoval:
        """Of samples `rows` (n,); `workspace` as in `influence_columns`."""
        problem = self.problem
        inputs, outputs = problem.inputs_of(rows), problem.outputs(self.params, rows)
        columns = influence_columns(self.inverse, inputs, workspace)
        weights = weight_of(problem, rows)
        hessians = weights[:, None, None] * problem.in_basis(problem.likelihood.hessian(problem.likelihood.state(outputs)))
        return DenseRemoval(self, rows, inputs, outputs, columns, leverage(columns, inputs), hessians, weights)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseRemoval(Removal):
    """Samples that leave, with Y, K and S (shapes as in `woodbury`)."""

    step: DenseStep
    rows: Tensor
    inputs: Tensor
    outputs: Tensor
    columns: Tensor
    gram: Tensor
    hessians: Tensor
    weights: Tensor

    @property
    def leverage(self) -> Tensor:
        return torch.einsum("nab,nba->n", self.hessians, self.gram)

    def newton_step(self) -> Tensor:
        """H⁻¹(r ⊗ x) is Y r."""
        step, problem = self.step, self.step.problem
        likelihood = problem.likelihood
        residual = likelihood.residual(likelihood.state(self.outputs), problem.targets[self.rows]) @ likelihood.basis
        residual = self.weights[:, None] * residual
        whole = (step.inverse @ step.params.flatten().to(step.dtype)).view_as(step.params)
        drop = problem.objective.l2_drop(self.weights)
        projection = torch.einsum("nab,nb->na", self.gram, residual) + drop[:, None] * (self.inputs @ whole.double().T)
        shift = combine(self.columns, residual + reaction(self.gram, self.hessians, projection))
        return shift + drop[:, None, None].to(whole.dtype) * whole

    def solve(self, gradient: Tensor) -> Tensor:
        inverse = self.step.inverse
        solved = matmul(gradient.flatten(1).to(inverse.dtype), inverse).view_as(gradient)
        projection = torch.einsum("nmk,nk->nm", solved.double(), self.inputs)
        return (solved + downdate(self.columns, self.gram, self.hessians, projection)).to(gradient.dtype)

    def refit(self, shift: Tensor, remaining: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        shift, params = shift.to(torch.float64, copy=True), self.step.params
        remaining = remaining.clone()
        for row in torch.nonzero(remaining.isinf()).flatten():
            problem = self.step.problem.remove(self.rows[row : row + 1])
            shift[row], remaining[row] = refitted(problem, params, shift[row], _SolveAlone(self.part(row[None])))
        return shift, remaining

    def part(self, chosen: Tensor) -> DenseRemoval:
        own = ("rows", "inputs", "outputs", "gram", "hessians", "weights")
        return replace(self, columns=self.columns[:, chosen], **{name: getattr(self, name)[chosen] for name in own})


@final
@dataclass(frozen=True, slots=True, eq=False)
class _SolveAlone:
    """`DenseRemoval.solve` of one sample as an `Operator`."""

    removal: DenseRemoval

    def __call__(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return self.removal.solve(vectors)


def samples_at_once(n_outputs: int, n_weights: int, itemsize: int) -> int:
    """Samples of K outputs and K·D weights in a chunk, so that Y, in numbers of some bytes, what is computed from it and
    matrices of the outputs stay within a fixed size."""
    return max(16, CHUNK_BYTES // (n_weights * (itemsize * n_outputs + 8 * 8) + 8 * 8 * n_outputs**2))


def chunk_bytes(n_samples: int, n_directions: int, n_features: int, n_outputs: int, itemsize: int) -> int:
    """What a chunk of the closed form holds at most: Y, three arrays of weights and six matrices of the outputs a sample."""
    columns = n_directions**2 * n_features
    return n_samples * (itemsize * (columns + 3 * n_outputs * n_features) + 6 * 8 * n_outputs**2)
