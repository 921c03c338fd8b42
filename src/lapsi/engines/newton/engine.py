"""The closed-form engine: the converged linear probe, and one Newton step for every sample that leaves, refined where asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import first_order_curvature, settled_curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Engine, Fit, Part, Plan, Units, Work, again, parts_of, single_rows
from lapsi.engines.newton.plan import continued, newton_seconds, plan_newton, price_of, spec_of
from lapsi.engines.newton.ridge import ridge_fit
from lapsi.engines.newton.steps import Optimum
from lapsi.engines.newton.streams import closed_forms, converged, refined
from lapsi.engines.newton.tolerance import Refinement, refinement_of
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.cost import speed_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Advance, Stages
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, REFINED, Removed
from lapsi.settings.engine import AUTO, Newton
from lapsi.settings.objective import ANEW
from lapsi.settings.settings import Settings
from lapsi.training.newton import fit_map, hessian_dtype, inverse_of, reduced_hessian

SHIFT_TOLERANCE = 1e-10
REFINED_TOLERANCE = 1e-5
SLOPE_SHARE = 0.4  # of the tolerance, for the first-order change of the others' curvature
PART_UNITS = 2048  # in the closed form: a minute or less on one core
CONVERGED_UNITS = 256  # where each takes passes over the data
TO_TOLERANCE = "to tolerance"


@final
@dataclass(frozen=True, slots=True)
class NewtonEngine(Engine):
    """Leaves samples out of the converged linear probe in closed form."""

    name: ClassVar[str] = Newton.name

    settings: Settings

    def plan(self, work: Work) -> Plan:
        return plan_newton(work, self.settings)

    def kept(self, plan: Plan) -> dict[str, Any]:
        return plan.details

    def continued(self, plan: Plan, kept: dict[str, Any]) -> Plan:
        return continued(plan, kept)

    def seconds(self, plan: Plan, work: Work, dataset: Dataset) -> float:
        return newton_seconds(plan, speed_of(device_of(self.settings.execution.device)))

    def fit(self, dataset: Dataset, standardizer: Standardizer, plan: Plan, stages: Stages) -> Fit:
        problem = linear_problem(dataset, standardizer, self.settings)
        if self.settings.objective.noise_removal == ANEW:
            return ridge_fit(fit_map(problem), self.settings.curvature)
        return newton_fit(problem, self.settings, plan, stages)


@final
@dataclass(frozen=True, slots=True, eq=False)
class NewtonFit(Fit):
    """The optimum of all samples, and the matrices that carry it to those without one; build it with `newton_fit`.

    Attributes:
        optimum: where the steps start.
        curvature: of the posterior there.
        spec: what was asked for.
        refinement: of the closed form; None where all samples are converged, or take a number of steps.
        origin: of the optimum: the norm of its gradient, and the iterations that it took.
    """

    optimum: Optimum
    curvature: Curvature
    spec: Newton
    refinement: Refinement | None
    origin: dict[str, Any]

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        way = CLOSED_FORM if self.refinement is not None else CONVERGED if self.spec.refine == AUTO else REFINED
        first = parts_of("seed0", np.arange(n_units), PART_UNITS, way)
        return [replace(part, is_final=not self._goes_on) for part in first]

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        """Better shifts of those of which too much is estimated to be missing: corrected first, what is left then converged."""
        if self.refinement is None or not self._goes_on or done[-1].way == TO_TOLERANCE:
            return []
        errors = np.nan_to_num(found["lsi_error"], nan=np.inf)
        if done[-1].way == CLOSED_FORM:
            chosen = self.refinement.to_correct(errors, np.nan_to_num(found["output_change"], nan=np.inf))
            advance(len(errors) - len(chosen))
            if len(chosen) > 0:
                return again(parts_of("corrected", chosen, PART_UNITS, CORRECTED))
        n_corrected = sum(len(part.positions) for part in done if part.way == CORRECTED)
        chosen, n_fits = self.refinement.to_converge(errors, n_corrected)
        advance(len(errors) - len(chosen))
        parts = again(parts_of("converged", chosen, CONVERGED_UNITS, TO_TOLERANCE))
        return [replace(part, allowance=len(range(number, n_fits, len(parts)))) for number, part in enumerate(parts)]

    def mending(self, positions: np.ndarray) -> list[Part]:
        return again(parts_of("mended", positions, CONVERGED_UNITS, CONVERGED)) if self._goes_on else []

    def later_steps(self, n_units: int) -> int:
        return 2 * n_units if self._goes_on else 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows, positions = single_rows(part.units_of(units)), np.arange(len(part.positions))
        match part.way:
            case "closed form":
                assert self.refinement is not None
                yield from _told(closed_forms(self.optimum, rows, self.refinement.missing.closed), advance)
            case "corrected":
                assert self.refinement is not None
                yield from _told(self.refinement.corrected(rows, positions), advance)
            case "to tolerance":
                assert self.refinement is not None
                yield from self.refinement.converged(rows, positions, part.allowance, advance)
            case "converged":
                yield from _told(converged(self.optimum, rows, positions, self._small_tolerance()), advance)
            case _:
                yield from _told(refined(self.optimum, rows, int(self.spec.refine)), advance)

    def reference(self, units: Units) -> Iterator[Removed]:
        yield from converged(self.optimum, single_rows(units), np.arange(len(units)), SHIFT_TOLERANCE)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return {**self.origin, "dtype": str(self.optimum.inverse.dtype).removeprefix("torch.")}

    @property
    def _goes_on(self) -> bool:
        """Whether the closed form is refined to a tolerance."""
        return self.refinement is not None and self.spec.refine == AUTO

    def _small_tolerance(self) -> float:
        """Of a shift where no budget is kept."""
        return min(REFINED_TOLERANCE, self.spec.tolerance / 2)


def newton_fit(problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages) -> NewtonFit:
    """The optimum, the inverse Hessian of the leave-one-out step, the curvature, and what is missing of the closed form."""
    optimum, curvature, origin = _posterior(problem, settings, plan, stages)
    spec, refinement = spec_of(settings), None
    if spec.refine in (AUTO, 0) and not plan.details["converges"]:
        with stages.stage("probe"):
            budget = plan.details["budget"]
            refinement = refinement_of(optimum, curvature, spec.tolerance, price_of(problem), budget)
    return NewtonFit(optimum, curvature, spec, refinement, origin)


def _posterior(
    problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages
) -> tuple[Optimum, Curvature, dict[str, Any]]:
    """Where the steps start, the curvature there, and how it was reached."""
    with stages.stage("fit") as advance:
        summed = hessian_dtype(problem, exact=settings.curvature == "full" or settings.execution.dtype == "float64")
        fit = fit_map(problem, advance=lambda: advance(1), summed=summed)
        params, origin = fit.params, {"grad_norm": fit.grad_norm, "n_iterations": fit.n_iterations}
        hessian = reduced_hessian(fit)
        del fit  # its Hessian is another
        inverse = inverse_of(hessian, settings.execution.dtype)
    optimum = Optimum(problem, params, inverse)
    with stages.stage("curvature"):
        if plan.details["settles"]:
            curvature = settled_curvature(problem, params, settings.curvature)
        else:
            streams = plan.details["streams"]
            error = SLOPE_SHARE * spec_of(settings).tolerance
            curvature = first_order_curvature(
                problem, params, settings.curvature, hessian, inverse, streams=streams, error=error
            )
    return optimum, curvature, origin


def _told(chunks: Iterator[Removed], advance: Advance) -> Iterator[Removed]:
    for removed in chunks:
        advance(len(removed.units))
        yield removed
