"""Samples that leave a problem of many outputs, in closed form among those that each couples (docs/math.md, Many outputs).

A sample's residual and Hessian are taken on its support, the outputs of which it says most; the step is that of
`lapsi.engines.newton.steps` with the local inverse in place of H⁻¹.

Legend of the indices: n sample that leaves, s output of its support, b output, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.diag import VarianceSlope
from lapsi.engines.groups.steps import approach
from lapsi.engines.local.inverse import LocalColumns
from lapsi.errors import ConvergenceError
from lapsi.execution.progress import Advance
from lapsi.linalg.conjugate_gradients import conjugate_gradients
from lapsi.linalg.woodbury import reaction
from lapsi.problem.base import mean_weight, weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, Removed
from lapsi.training.krylov import PRODUCTS, BlockPreconditioner, Optimum, hessian_solve

SUPPORT = 12
CHUNK_BYTES = 256 * 2**20
REFERENCE_CHUNK = 64
SOLVE_TOLERANCE = 1e-3
REFERENCE_TOLERANCE = 1e-8


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalSlope(VarianceSlope):
    """The derivative of the diagonal along the outputs that a shift moves most, for the outputs nearest to each of these.

    Attributes:
        blocks: ∂(Σ_j a_j x_j² v_ja)/∂params_b.
    """

    blocks: LocalColumns

    def change(self, shift: Tensor) -> Tensor:
        support = shift.square().sum(2).topk(min(SUPPORT, shift.shape[1]), dim=1).indices
        moved = shift.gather(1, support[..., None].expand(*support.shape, shift.shape[2]))
        return self.blocks.times(moved, support).flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class LocalStep:
    """What the closed form of any sample takes.

    Attributes:
        problem: that sees all outputs.
        optimum: of all samples.
        inverse: H⁻¹ at the L2 strength that is left when a sample of mean weight leaves.
        pull: H⁻¹·params (K, D) float64: how the optimum moves when the L2 strength falls by 1.
    """

    problem: LinearProblem
    optimum: Optimum
    inverse: LocalColumns
    pull: Tensor

    def removed(self, rows: Tensor, positions: np.ndarray) -> Removed:
        """Samples `rows` (n,) that leave, each alone."""
        problem, likelihood = self.problem, self.problem.likelihood
        inputs, weights = problem.inputs[rows], weight_of(problem, rows)
        state = likelihood.state(problem.outputs(self.optimum.params, rows))
        residual = weights[:, None] * likelihood.residual(state, problem.targets[rows])
        support = (residual.abs() + likelihood.variance(state)).topk(min(SUPPORT, residual.shape[1]), dim=1).indices
        residual, hessians = residual.gather(1, support), weights[:, None, None] * _hessians(self.problem, state, support)
        gram = self.inverse.forms(inputs, support)
        drop = problem.objective.l2_drop(weights)
        pulled = drop[:, None] * (inputs @ self.pull.T).gather(1, support)
        projection = torch.einsum("nab,nb->na", gram, residual) + pulled
        factors = residual + reaction(gram, hessians, projection)
        shift = self.inverse.times(factors[..., None] * inputs[:, None, :], support)
        shift += (drop[:, None, None] * self.pull).to(shift.dtype)
        leverage = torch.einsum("nab,nba->n", hessians, gram)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        return self.found(rows, positions, shift, CLOSED_FORM, unknown, leverage)

    def found(
        self, rows: Tensor, positions: np.ndarray, shift: Tensor, refinement: str, remaining: Tensor, leverage: Tensor
    ) -> Removed:
        """The chunk of a shift (n, K, D) that was made by `refinement` and of which `remaining` (n,) is missing."""
        units, params = rows[:, None], self.optimum.params
        change = self.problem.own_output_change(units, shift)[:, 0]
        outputs = (self.problem.outputs(params, rows) + change)[:, None]
        diagnostics = {"leverage": leverage, "output_change": change.abs().amax(1)}
        return Removed(units, positions, params, shift, outputs, refinement, remaining, diagnostics)

    def chunks(self, rows: Tensor) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Samples `rows` (n,) and their positions, like ones together: their blocks are multiplied at once."""
        n_outputs, n_features = self.optimum.params.shape
        size = max(16, CHUNK_BYTES // (8 * n_outputs * n_features))
        own = [self.problem.outputs(self.optimum.params, part).argmax(1) for part in rows.split(8192)]
        order = torch.argsort(torch.cat(own), stable=True)
        for positions in order.split(size):
            yield rows[positions], positions.cpu().numpy()


def converged(step: LocalStep, rows: Tensor, positions: np.ndarray, advance: Advance = lambda _: None) -> Iterator[Removed]:
    """Samples at `positions` (k,) of `rows`, each at its leave-one-out optimum: chord steps solved by conjugate gradients.

    Raises:
        ConvergenceError: where the steps of a sample do not shrink.
    """
    problem, params = step.problem, step.optimum.params
    for part in np.array_split(positions, -(-len(positions) // REFERENCE_CHUNK)):
        own = rows[torch.as_tensor(part, device=rows.device)]
        solve = _Solve(problem, params, own[:, None], step.optimum.blocks)
        shift, remaining = approach(problem, params, own[:, None], solve, advance, REFERENCE_TOLERANCE)
        if not bool(remaining.isfinite().all()):
            raise ConvergenceError(
                f"The leave-one-out optimum of row {int(own[~remaining.isfinite()][0])} was not reached. Use a larger weight "
                "decay."
            )
        leverage = step.removed(own, part).diagnostics["leverage"]
        yield step.found(own, part, shift, CONVERGED, remaining, leverage)


@dataclass(frozen=True, slots=True, eq=False)
class _Solve:
    """(H − J S Jᵀ)⁻¹ of gradients (r, K, D) of some units (r,), to a thousandth, in float32."""

    problem: LinearProblem
    params: Tensor
    units: Tensor
    blocks: BlockPreconditioner

    def __call__(self, gradient: Tensor, rows: Tensor) -> Tensor:
        units = self.units[rows]
        scale = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)[:, None, None]
        solved = conjugate_gradients(
            lambda vectors, active: self.problem.hessian_product(units[active], self.params, vectors),
            (gradient / scale).float(),
            self.blocks,
            tolerance=SOLVE_TOLERANCE,
            max_iterations=PRODUCTS,
        )
        return solved.value.to(gradient.dtype) * scale


def pull_of(problem: LinearProblem, optimum: Optimum) -> Tensor:
    """H⁻¹·params (K, D): what `LocalStep` holds."""
    drop = problem.objective.l2_drop(mean_weight(problem))
    params, blocks = optimum.params, optimum.blocks
    return hessian_solve(problem, params, params, blocks, tolerance=REFERENCE_TOLERANCE, drop=drop).value[0]


def _hessians(problem: LinearProblem, state: Tensor, support: Tensor) -> Tensor:
    """S (n, s, s) among the outputs of each support."""
    columns = []
    for place in range(support.shape[1]):
        direction = torch.zeros_like(state).scatter_(1, support[:, place : place + 1], 1.0)
        columns.append(problem.likelihood.residual_derivative(state, direction).gather(1, support))
    return torch.stack(columns, 2)
