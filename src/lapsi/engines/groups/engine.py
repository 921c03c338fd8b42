"""Whole groups that leave together: the closed form with units of many samples, each converged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import settled_curvature
from lapsi.engines.base import Advance, Fit, Part, Units
from lapsi.engines.groups.steps import TOLERANCE, group_shift
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CONVERGED, Removed
from lapsi.training.newton import MapFit


@final
@dataclass(frozen=True, slots=True, eq=False)
class GroupsFit(Fit):
    """The optimum of all samples of a linear problem, from which groups leave; build it with `groups_fit`.

    Attributes:
        optimum: where the steps start.
        curvature: of the posterior there, exact.
    """

    optimum: MapFit
    curvature: Curvature

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        return [Part("groups", 0, n_units, n_units)]

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        problem, params = self.problem, self.optimum.params
        for position in range(part.start, part.stop):
            rows = units[position]
            shift = group_shift(problem, params, self.optimum.hessian, rows)[None]
            outputs = problem.outputs(params + shift[0], rows)[None]
            remaining = torch.full((1,), TOLERANCE, dtype=torch.float64)
            yield Removed(rows[None], np.array([position - part.start]), params, shift, outputs, CONVERGED, remaining)
            advance(1)

    def settle(self, units: Units, part: Part, positions: np.ndarray) -> Iterator[Removed]:
        yield from ()

    def reference(self, units: Units) -> Iterator[Removed]:
        """Groups are converged already: the reference is what they are."""
        yield from self.remove(units, self.parts(len(units))[0], lambda _: None)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        optimum = self.optimum
        return {"dtype": "float64", "grad_norm": optimum.grad_norm, "n_iterations": optimum.n_iterations}


def groups_fit(optimum: MapFit, structure: str) -> GroupsFit:
    """For groups that leave, and a posterior of some structure."""
    return GroupsFit(optimum, settled_curvature(optimum.problem, optimum.params, structure))
