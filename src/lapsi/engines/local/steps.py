"""Samples that leave a problem of many outputs, in closed form among those that each couples (docs/math.md, Many outputs).

A sample's residual and Hessian are taken on its support, the outputs of which it says most; the step is that of
`lapsi.engines.newton.steps` with the local inverse in place of H⁻¹.

Legend of the indices: n sample that leaves, s output of its support, b output, k feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.blocks import Cuts
from lapsi.curvature.slope import at_support, support_sizes, supports
from lapsi.engines.groups.steps import approach
from lapsi.engines.removal.base import Compared, Removal, Step
from lapsi.linalg.columns import NO_OUTPUT, Columns, DenseColumns
from lapsi.linalg.conjugate_gradients import conjugate_gradients
from lapsi.linalg.woodbury import reaction
from lapsi.models.likelihoods.base import hessian_among
from lapsi.problem.base import mean_weight, weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.training.krylov import PRODUCTS, BlockPreconditioner, KrylovFit, hessian_solve, refitted

CHUNK_BYTES = 256 * 2**20
ROWS_AT_A_TIME = 8192
PART_UNITS = 8192  # samples of like predictions share products
REFIT_CHUNK = 64
SOLVE_TOLERANCE = 0.01
REFIT_TOLERANCE = 1e-8
REFIT_SHARE = 0.01  # of what may remain: LSI may go far more steeply than with the square of the shift


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalStep(Step):
    """By an inverse Hessian of which only some columns are there, or columns over some outputs.

    Attributes:
        problem: that sees all outputs.
        params: (K, D) its optimum.
        metric: (K, D) the diagonal of the Hessian there, about that of the posterior's precision.
        inverse: H⁻¹ at the L2 strength that is left when a sample of mean weight leaves.
        pull: H⁻¹·params (K, D) float64: how the optimum moves when the L2 strength falls by 1.
        blocks: preconditioner of the whole problem.
        cuts: what may be left out.
    """

    problem: LinearProblem
    params: Tensor
    metric: Tensor
    inverse: Columns
    pull: Tensor
    blocks: BlockPreconditioner
    cuts: Cuts

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def is_whole(self) -> bool:
        return isinstance(self.inverse, DenseColumns)

    @property
    def leaves_out(self) -> bool:
        return True

    @property
    def probe_tolerance(self) -> float:
        """The outputs that the inverse leaves out cost more than that."""
        return self.cuts.of_probe

    @property
    def part_units(self) -> int:
        return PART_UNITS

    def removal(self, rows: Tensor) -> LocalRemoval:
        """Samples `rows` (n,), each on the outputs of which it says most."""
        problem, likelihood = self.problem, self.problem.likelihood
        inputs, outputs, weights = problem.inputs_of(rows), problem.outputs(self.params, rows), weight_of(problem, rows)
        state = likelihood.state(outputs)
        residual = likelihood.residual(state, problem.targets[rows])
        support, counts = supports(_said(residual, likelihood.variance(state)), self.cuts.of_support)
        residual = counts * weights[:, None] * residual.gather(1, support)
        hessians = (
            (counts[:, :, None] & counts[:, None, :]) * weights[:, None, None] * hessian_among(likelihood, state, support)
        )
        gram = self.inverse.forms(inputs, support)
        return LocalRemoval(self, rows, outputs, inputs, weights, support, residual, hessians, gram)

    def alike(self, rows: Tensor) -> Tensor:
        """By the output of which each says most."""
        return torch.argsort(self._supports(rows)[1], stable=True)

    def chunks(self, rows: Tensor) -> Iterator[tuple[np.ndarray, Removal]]:
        """Like ones together."""
        n_outputs, n_features = self.params.shape
        sizes, own = self._supports(rows)
        order = torch.argsort(own - n_outputs * sizes, stable=True)  # the largest supports first
        start = 0
        while start < len(order):
            width = int(sizes[order[start]])
            count = max(16, CHUNK_BYTES // (4 * n_features * (2 * n_outputs + 2 * width) + 8 * 8 * width**2))
            positions = order[start : start + count]
            yield positions.cpu().numpy(), self.removal(rows[positions])
            start += count

    def compared(self, change: Tensor, shift: Tensor) -> Compared:
        """In the metric: where outputs are left out of the inverse the last to come right are those that weigh little."""
        changed, whole, both = (self._product(*pair) for pair in ((change, change), (shift, shift), (change, shift)))
        return Compared((changed / whole).sqrt(), both.abs() / (changed * whole).sqrt())

    def at_once(self, dtype: torch.dtype) -> int:
        return max(1, CHUNK_BYTES // (6 * dtype.itemsize * self.params.numel()))

    def _product(self, first: Tensor, second: Tensor) -> Tensor:
        """Of shifts in the metric (n,)."""
        return torch.einsum("nck,nck,ck->n", first, second, self.metric.to(first.dtype)).double()

    def _supports(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of samples `rows` (n,) the size of the support (n,), and the output of which each says most (n,)."""
        sizes, own = torch.empty_like(rows), torch.empty_like(rows)
        for positions in torch.arange(len(rows), device=rows.device).split(ROWS_AT_A_TIME):
            said = self._said_by(rows[positions])
            sizes[positions], own[positions] = support_sizes(said, self.cuts.of_support), said.argmax(1)
        return sizes, own

    def _said_by(self, rows: Tensor) -> Tensor:
        """`_said` by samples `rows` (n,)."""
        likelihood = self.problem.likelihood
        state = likelihood.state(self.problem.outputs(self.params, rows))
        return _said(likelihood.residual(state, self.problem.targets[rows]), likelihood.variance(state))


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalRemoval(Removal):
    """Samples that leave, each on its support.

    Attributes:
        step, rows, outputs: as in `Removal`.
        inputs, weights: (n, D), (n,).
        support: (n, s) outputs.
        residual, hessians: of the samples there (n, s), (n, s, s), weighted; 0 where an output fills the support up.
        gram: x_nᵀH⁻¹x_n there (n, s, s).
    """

    step: LocalStep
    rows: Tensor
    outputs: Tensor
    inputs: Tensor
    weights: Tensor
    support: Tensor
    residual: Tensor
    hessians: Tensor
    gram: Tensor

    @property
    def leverage(self) -> Tensor:
        return torch.einsum("nab,nba->n", self.hessians, self.gram)

    def newton_step(self) -> Tensor:
        step = self.step
        drop = step.problem.objective.l2_drop(self.weights)
        pulled = drop[:, None] * (self.inputs @ step.pull.T).gather(1, self.support)
        projection = torch.einsum("nab,nb->na", self.gram, self.residual) + pulled
        shift = self._along(self.residual + reaction(self.gram, self.hessians, projection))
        return shift.add_((drop[:, None, None] * step.pull).to(shift.dtype))

    def solve(self, gradient: Tensor) -> Tensor:
        support, counts = supports(gradient.square().sum(2), self.step.cuts.of_gradient)
        solved = self.step.inverse.times(at_support(gradient, support), torch.where(counts, support, NO_OUTPUT))
        projection = torch.einsum("nsk,nk->ns", at_support(solved, self.support).double(), self.inputs)
        return (solved + self._along(reaction(self.gram, self.hessians, projection))).to(gradient.dtype)

    def refit(self, shift: Tensor, remaining: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Chord steps whose systems are solved by conjugate gradients; each alone where these do not arrive."""
        shift, remaining = shift.to(torch.float64, copy=True), remaining.clone()
        problem, params, blocks = self.step.problem, self.step.params, self.step.blocks
        for part in torch.nonzero(remaining.isinf()).flatten().split(REFIT_CHUNK):
            units = self.rows[part][:, None]
            solve = _Solve(problem, params, units, blocks)
            shift[part], remaining[part] = approach(
                problem, params, units, solve, tolerance=max(REFIT_TOLERANCE, REFIT_SHARE * tolerance)
            )
        for row in torch.nonzero(remaining.isinf()).flatten():
            shift[row], remaining[row] = refitted(problem.remove(self.rows[row : row + 1]), params, shift[row], blocks)
        return shift, remaining

    def part(self, chosen: Tensor) -> LocalRemoval:
        own = [field.name for field in fields(self) if field.name != "step"]
        return replace(self, **{name: getattr(self, name)[chosen] for name in own})

    def _along(self, factors: Tensor) -> Tensor:
        """H⁻¹J·factors (n, K, D) for factors (n, s)."""
        return self.step.inverse.times(factors[..., None] * self.inputs[:, None, :], self.support)


@dataclass(frozen=True, slots=True, eq=False)
class _Solve:
    """(H − J S Jᵀ)⁻¹ of gradients (r, K, D) of some units (r,), to a hundredth, in float32."""

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
    return hessian_solve(problem, params, params, blocks, tolerance=REFIT_TOLERANCE, drop=drop).value[0]


def _said(residual: Tensor, variance: Tensor) -> Tensor:
    """What samples say of each output (n, K)."""
    return (residual.abs() + variance).square()
