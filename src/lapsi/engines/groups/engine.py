"""Whole groups that leave together: the closed form with units of many samples, each converged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import settled_curvature
from lapsi.engines.base import Fit, Part, Units, parts_of, work_in
from lapsi.engines.groups.plan import CHECKS, PART_UNITS, chunks_of
from lapsi.engines.groups.steps import factor_solve, low_rank_solve, settle
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.precision.divergence import of_order
from lapsi.problem.base import PADDING
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CONVERGED, Removed
from lapsi.settings.settings import Settings
from lapsi.training.newton import STEP_TOLERANCE, MapFit, fit_map, invert, reduced_hessian


@final
@dataclass(frozen=True, slots=True, eq=False)
class GroupsFit(Fit):
    """The optimum of all samples of a linear problem, from which groups leave; build it with `groups_fit`.

    Attributes:
        optimum: where the steps start.
        inverse: (P', P') float64, of its Hessian at the L2 strength that one sample leaves.
        curvature: of the posterior there, exact.
    """

    optimum: MapFit
    inverse: Tensor
    curvature: Curvature

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return "fitted anew"

    def parts(self, n_units: int) -> list[Part]:
        """Units in their order; like sizes go at once where they follow each other (`by_size`)."""
        return parts_of("seed0", np.arange(n_units), PART_UNITS)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        return []

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        """In chunks of groups of like sizes, whatever their order."""
        problem, params = self.problem, self.optimum.params
        groups = list(part.units_of(units))
        for by_update, positions in chunks_of(work_in(problem, len(groups)), [len(rows) for rows in groups]):
            padded = joined_units([groups[position] for position in positions])
            solve = low_rank_solve(problem, params, self.inverse, padded) if by_update else factor_solve(self.optimum, padded)
            shift, remaining = settle(problem, params, padded, solve, advance)
            yield self._removed(padded, positions, shift, remaining)

    def reference(self, units: Units) -> Iterator[Removed]:
        """Each problem without a group, fitted from nothing."""
        params = self.optimum.params
        for position, rows in enumerate(units):
            shift = (fit_map(self.problem.remove(rows)).params - params)[None]
            remaining = STEP_TOLERANCE * params.norm() / shift.flatten(1).norm(dim=1)
            yield self._removed(rows[None], [position], shift, remaining)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units, CHECKS)

    def record(self, params: Tensor) -> dict[str, Any]:
        optimum = self.optimum
        return {"dtype": "float64", "grad_norm": optimum.grad_norm, "n_iterations": optimum.n_iterations}

    def _removed(self, units: Tensor, positions: list[int], shift: Tensor, remaining: Tensor) -> Removed:
        problem, params = self.problem, self.optimum.params
        outputs = problem.model.outputs(params + shift, problem.inputs_of(units))
        return Removed(units, np.array(positions), params, shift, outputs, CONVERGED, remaining)


def groups_fit(optimum: MapFit, settings: Settings) -> GroupsFit:
    """For groups that leave, and a posterior of the structure that the settings name."""
    inverse = invert(reduced_hessian(optimum))
    curvature = settled_curvature(optimum.problem, optimum.params, settings.curvature).by(of_order(settings.order))
    return GroupsFit(optimum, inverse, curvature)


def by_size(groups: Sequence[Sized]) -> np.ndarray:
    """Positions (n,) of groups, the largest first: so they are shared out."""
    return np.argsort([-len(rows) for rows in groups], kind="stable")


def joined_units(groups: Sequence[Tensor]) -> Tensor:
    """Groups (g,) of any sizes as one (n, g), the smaller ones filled up with `PADDING`."""
    return torch.nn.utils.rnn.pad_sequence(list(groups), batch_first=True, padding_value=PADDING)
