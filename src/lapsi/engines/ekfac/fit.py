"""A trained module, its curvature, and the samples that leave it one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.ekfac import BasisCurvature, DenseCurvature
from lapsi.curvature.said import Basis, said_by, turned
from lapsi.engines.base import Fit, Part, Units, parts_of, single_rows
from lapsi.engines.ekfac.steps import Hessian
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import CLOSED_FORM, TRAINED, Removed
from lapsi.results.verification import TRAINED_ON
from lapsi.training.module_optimum import in_float64, module_optimum, set_params

PART_UNITS = 512
MOST_PASSES = 400  # over the data, of training on
ROOT_BYTES = 256 * 2**20  # of the roots of a chunk


@final
@dataclass(frozen=True, slots=True, eq=False)
class EkfacFit(Fit):
    """Where samples leave from.

    Attributes:
        module_problem: the module on all samples.
        basis: that the steps are taken in.
        hessian: there.
        curvature: of the posterior.
        origin: of the weights: the norm of the gradient of the mean loss there, and how far that is from an optimum.
    """

    module_problem: ModuleProblem
    basis: Basis
    hessian: Hessian
    curvature: BasisCurvature | DenseCurvature
    origin: dict[str, Any]

    @property
    def problem(self) -> ModuleProblem:
        return self.module_problem

    @property
    def reference_name(self) -> str:
        return TRAINED_ON

    def parts(self, n_units: int) -> list[Part]:
        return parts_of("seed0", np.arange(n_units), PART_UNITS)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        return []

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows = single_rows(part.units_of(units))
        problem, start = self.problem, 0
        basis, params = self.basis, self._params
        for said in said_by(problem, rows, self._at_once):
            root, drop = said.root(basis).double(), problem.objective.l2_drop(weight_of(problem, said.rows))
            step = self.hessian.step(said.gradient(basis).double() + drop[:, None] * params, root, drop)
            change = said.output_change(step.shift, basis)
            positions = np.arange(start, start + len(said.rows))
            start += len(said.rows)
            unknown = torch.full((len(positions),), torch.nan, dtype=torch.float64)
            diagnostics = {"leverage": step.leverage, "output_change": change.abs().amax(1)}
            yield Removed(
                said.rows[:, None],
                positions,
                params.new_empty(0),
                step.shift,
                (said.outputs + change)[:, None],
                CLOSED_FORM,
                unknown,
                diagnostics,
                own=self.curvature.own(said, root),
            )
            advance(len(positions))

    def reference(self, units: Units) -> Iterator[Removed]:
        """Trained on from the given weights, in float64: with all samples, and from there without each."""
        moved, rows = in_float64(self.problem), single_rows(units)
        whole = module_optimum(moved, self.problem.params, MOST_PASSES)
        for position, row in enumerate(rows):
            without = module_optimum(moved.remove(row[None]), whole.params, MOST_PASSES)
            shift = without.params - whole.params
            outputs = moved.outputs(without.params, row[None])
            set_params(moved.layers, whole.params)
            ((_, own),) = ((said, self.curvature.own(said, said.root(self.basis))) for said in said_by(moved, row[None]))
            yield Removed(
                row[None, None],
                np.array([position]),
                whole.params,
                turned(self.problem.layers, self.basis, shift[None]),
                outputs[:, None],
                TRAINED,
                torch.full((1,), torch.nan, dtype=torch.float64),
                own=own,
            )

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return self.origin

    @property
    def _params(self) -> Tensor:
        """(P,) in the basis of the steps."""
        return turned(self.problem.layers, self.basis, self.problem.params)

    @property
    def _at_once(self) -> int:
        """Samples of which the roots are held together."""
        per_sample = 8 * 3 * (2 + self.problem.likelihood.n_outputs) * self.problem.n_params
        return max(1, min(self.problem.batch_size, ROOT_BYTES // per_sample))
