"""Samples that leave a problem of many outputs, in closed form among those that each couples (docs/math.md, Many outputs).

A sample's residual and Hessian are taken on its support, the outputs of which it says most; the step is that of
`lapsi.engines.newton.steps` with the local inverse in place of H⁻¹.

Legend of the indices: n sample that leaves, s output of its support, b output, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.slope import support_sizes, supports
from lapsi.engines.groups.steps import approach
from lapsi.errors import ConvergenceError
from lapsi.execution.progress import Advance
from lapsi.linalg.columns import Columns
from lapsi.linalg.conjugate_gradients import conjugate_gradients
from lapsi.linalg.woodbury import reaction
from lapsi.problem.base import mean_weight, weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, Removed
from lapsi.training.krylov import PRODUCTS, BlockPreconditioner, KrylovFit, hessian_solve

HIGH_LEVERAGE = 0.5  # above it the step of a sample may be off by as much as it is long
CHUNK_BYTES = 256 * 2**20
ROWS_AT_A_TIME = 8192
REFERENCE_CHUNK = 64
SOLVE_TOLERANCE = 1e-3
REFERENCE_TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class LocalStep:
    """What the closed form of any sample takes.

    Attributes:
        problem: that sees all outputs.
        optimum: of all samples.
        inverse: H⁻¹ at the L2 strength that is left when a sample of mean weight leaves.
        pull: H⁻¹·params (K, D) float64: how the optimum moves when the L2 strength falls by 1.
        left_out: of the squares of what a sample says of its outputs, beyond its support.
    """

    problem: LinearProblem
    optimum: KrylovFit
    inverse: Columns
    pull: Tensor
    left_out: float

    def leaving(self, rows: Tensor) -> Leaving:
        """Samples `rows` (n,), each on the outputs of which it says most."""
        problem, likelihood = self.problem, self.problem.likelihood
        inputs, weights = problem.inputs_of(rows), weight_of(problem, rows)
        state = likelihood.state(problem.outputs(self.optimum.params, rows))
        residual = likelihood.residual(state, problem.targets[rows])
        support, counts = supports(_said(residual, likelihood.variance(state)), self.left_out)
        residual = counts * weights[:, None] * residual.gather(1, support)
        hessians = (counts[:, :, None] & counts[:, None, :]) * weights[:, None, None] * _hessians(problem, state, support)
        return Leaving(inputs, weights, support, residual, hessians, self.inverse.forms(inputs, support))

    def removed(self, rows: Tensor, positions: np.ndarray) -> Removed:
        """Samples `rows` (n,) that leave, each alone."""
        leaving = self.leaving(rows)
        drop = self.problem.objective.l2_drop(leaving.weights)
        pulled = drop[:, None] * (leaving.inputs @ self.pull.T).gather(1, leaving.support)
        projection = torch.einsum("nab,nb->na", leaving.gram, leaving.residual) + pulled
        factors = leaving.residual + reaction(leaving.gram, leaving.hessians, projection)
        shift = self.inverse.times(factors[..., None] * leaving.inputs[:, None, :], leaving.support)
        shift += (drop[:, None, None] * self.pull).to(shift.dtype)
        leverage = leaving.leverage
        missing = torch.where(leverage <= HIGH_LEVERAGE, torch.nan, leverage.nan_to_num(torch.inf))
        return self.found(rows, positions, shift, CLOSED_FORM, missing, leverage)

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
        """Samples `rows` (n,) and their positions, like ones together."""
        n_outputs, n_features = self.optimum.params.shape
        sizes, own = torch.empty_like(rows), torch.empty_like(rows)
        for positions in torch.arange(len(rows), device=rows.device).split(ROWS_AT_A_TIME):
            said = self._said_by(rows[positions])
            sizes[positions], own[positions] = support_sizes(said, self.left_out), said.argmax(1)
        order = torch.argsort(own - n_outputs * sizes, stable=True)  # the largest supports first
        start = 0
        while start < len(order):
            width = int(sizes[order[start]])
            count = max(16, CHUNK_BYTES // (4 * n_features * (2 * n_outputs + 2 * width) + 8 * 8 * width**2))
            positions = order[start : start + count]
            yield rows[positions], positions.cpu().numpy()
            start += count

    def _said_by(self, rows: Tensor) -> Tensor:
        """`_said` by samples `rows` (n,)."""
        likelihood = self.problem.likelihood
        state = likelihood.state(self.problem.outputs(self.optimum.params, rows))
        return _said(likelihood.residual(state, self.problem.targets[rows]), likelihood.variance(state))


@dataclass(frozen=True, slots=True, eq=False)
class Leaving:
    """What the closed form of some samples is made of, each on its support.

    Attributes:
        inputs, weights: (n, D), (n,).
        support: (n, s) outputs.
        residual, hessians: of the samples there (n, s), (n, s, s), weighted; 0 where an output fills the support up.
        gram: x_nᵀH⁻¹x_n there (n, s, s).
    """

    inputs: Tensor
    weights: Tensor
    support: Tensor
    residual: Tensor
    hessians: Tensor
    gram: Tensor

    @property
    def leverage(self) -> Tensor:
        """tr(S K) (n,)."""
        return torch.einsum("nab,nba->n", self.hessians, self.gram)


@dataclass(frozen=True, slots=True)
class Converging:
    """Which samples are converged after the closed form.

    Attributes:
        highest: so many of the highest LSI.
        doubtful: at most so many more, of which the closed form is doubtful.
    """

    highest: int = 0
    doubtful: int = 0

    def of(self, lsi: np.ndarray, leverage: np.ndarray) -> np.ndarray:
        """Positions (k,) among samples of LSI (n,) and a `leverage` (n,)."""
        highest = np.argsort(-lsi, kind="stable")[: self.highest]
        doubt = np.where(leverage <= HIGH_LEVERAGE, 0.0, np.nan_to_num(leverage, nan=np.inf))
        doubt[highest] = 0.0
        doubtful = np.argsort(-doubt, kind="stable")[: min(self.doubtful, np.count_nonzero(doubt))]
        return np.concatenate([highest, doubtful])


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
        yield step.found(own, part, shift, CONVERGED, remaining, step.leaving(own).leverage)


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


def pull_of(problem: LinearProblem, optimum: KrylovFit) -> Tensor:
    """H⁻¹·params (K, D): what `LocalStep` holds."""
    drop = problem.objective.l2_drop(mean_weight(problem))
    params, blocks = optimum.params, optimum.blocks
    return hessian_solve(problem, params, params, blocks, tolerance=REFERENCE_TOLERANCE, drop=drop).value[0]


def _said(residual: Tensor, variance: Tensor) -> Tensor:
    """What samples say of each output (n, K)."""
    return (residual.abs() + variance).square()


def _hessians(problem: LinearProblem, state: Tensor, support: Tensor) -> Tensor:
    """S (n, s, s) among the outputs of each support."""
    columns = []
    for place in range(support.shape[1]):
        direction = torch.zeros_like(state).scatter_(1, support[:, place : place + 1], 1.0)
        columns.append(problem.likelihood.residual_derivative(state, direction).gather(1, support))
    return torch.stack(columns, 2)
