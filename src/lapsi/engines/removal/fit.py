"""The optimum of all samples and the closed form from there: the fit of every engine whose samples leave in Newton steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.engines.base import Fit, Part, Units, Work, again, parts_bytes, parts_of, single_rows
from lapsi.engines.removal.base import Step
from lapsi.engines.removal.streams import closed_forms, converged, refined
from lapsi.engines.removal.tolerance import Refinement
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, REFINED, Removed

REFERENCE_TOLERANCE = 1e-10
REFINED_TOLERANCE = 1e-5
CONVERGED_UNITS = 128  # a part, where each takes passes over the data
TO_TOLERANCE = "to tolerance"


@final
@dataclass(frozen=True, slots=True)
class Course:
    """How samples leave.

    Attributes:
        way: of all of them, first: the closed form, chord steps, or converged.
        n_steps: chord steps, where that is the way.
        tolerance: the relative error of LSI that is asked for.
        goes_on: whether what is not good enough in the closed form is done again.
    """

    way: str
    n_steps: int
    tolerance: float
    goes_on: bool


@final
@dataclass(frozen=True, slots=True, eq=False)
class ClosedFormFit(Fit):
    """The optimum of all samples, and what carries it to those without one.

    Attributes:
        step: the closed form.
        curvature: of the posterior at the optimum.
        course: how samples leave.
        refinement: of the closed form, where that is the way.
        origin: of the optimum: the norm of its gradient, and the iterations that it took.
    """

    step: Step
    curvature: Curvature
    course: Course
    refinement: Refinement | None
    origin: dict[str, Any]

    @property
    def problem(self) -> LinearProblem:
        return self.step.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        first = parts_of("seed0", np.arange(n_units), self.step.part_units, self.course.way)
        return [replace(part, is_final=not self.course.goes_on) for part in first]

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        """Better shifts of those of which too much is estimated to be missing: corrected first, what is left then converged.

        Then those that the converged ones have left among the highest, until the highest of the ranking are all converged.
        """
        if self.refinement is None or not self.course.goes_on:
            return []
        errors = np.nan_to_num(found["lsi_error"], nan=np.inf)
        if done[-1].way == CLOSED_FORM:
            chosen = self.refinement.to_correct(errors, np.nan_to_num(found["output_change"], nan=np.inf))
            advance(len(errors) - len(chosen))
            if len(chosen) > 0:
                return again(parts_of("corrected", chosen, self.step.part_units, CORRECTED))
        lsi = np.nan_to_num(found["lsi_mean"][-1] + found["lsi_curvature"][-1], nan=np.inf)
        tried = [part for part in done if part.way == TO_TOLERANCE]
        fitted = [part.positions for part in tried if part.all_may_cost]
        highest, others, n_fits = self.refinement.highest_left(errors, lsi, fitted), np.arange(0), 0
        if not tried:
            n_corrected = sum(len(part.positions) for part in done if part.way == CORRECTED)
            others, n_fits = self.refinement.others(errors, lsi, n_corrected)
        advance((0 if tried else len(errors)) - len(highest) - len(others))
        first = parts_of(f"highest{len(done)}", highest, CONVERGED_UNITS, TO_TOLERANCE)
        then = parts_of("converged", others, CONVERGED_UNITS, TO_TOLERANCE)
        shares = [len(range(number, n_fits, len(then))) for number in range(len(then))]
        allowed = [*(len(part.positions) for part in first), *shares]
        return again([replace(part, allowance=fits) for part, fits in zip([*first, *then], allowed, strict=True)])

    def mending(self, positions: np.ndarray) -> list[Part]:
        return again(parts_of("mended", positions, CONVERGED_UNITS, CONVERGED)) if self.course.goes_on else []

    def later_steps(self, n_units: int) -> int:
        return 2 * n_units if self.refinement is not None and self.course.goes_on else 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows, positions = single_rows(part.units_of(units)), np.arange(len(part.positions))
        if part.way == CONVERGED:
            yield from _told(converged(self.step, rows, positions, self._small_tolerance()), advance)
        elif part.way == REFINED:
            yield from _told(refined(self.step, rows, self.course.n_steps), advance)
        else:
            yield from self._in_closed_form(rows, positions, part, advance)

    def reference(self, units: Units) -> Iterator[Removed]:
        yield from converged(self.step, single_rows(units), np.arange(len(units)), REFERENCE_TOLERANCE)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return {**self.origin, "dtype": str(self.step.dtype).removeprefix("torch.")}

    def _in_closed_form(self, rows: Tensor, positions: np.ndarray, part: Part, advance: Advance) -> Iterator[Removed]:
        """Alone, corrected, or converged to the tolerance."""
        assert self.refinement is not None
        if part.way == CLOSED_FORM:
            yield from _told(closed_forms(self.step, rows, self.refinement.missing.of_closed), advance)
        elif part.way == CORRECTED:
            yield from _told(self.refinement.corrected(rows, positions), advance)
        else:
            yield from self.refinement.converged(rows, positions, part.allowance, advance)

    def _small_tolerance(self) -> float:
        """Of a shift where no budget is kept."""
        return min(REFINED_TOLERANCE, self.course.tolerance / 2)


def kept_bytes(work: Work, part_units: int, n_directions: int, n_again: int) -> int:
    """Of finished parts on the disk: of all units, so many a part, and of those that are refined; of params (F, D)."""
    n_parts = -(-work.n_units // part_units) + -(-n_again // CONVERGED_UNITS)
    return parts_bytes(work.n_outputs, work.n_units + n_again, n_parts, n_directions * work.n_coordinates)


def _told(chunks: Iterator[Removed], advance: Advance) -> Iterator[Removed]:
    for removed in chunks:
        advance(len(removed.units))
        yield removed
