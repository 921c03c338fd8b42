"""The closed-form engine: the converged linear probe, and one Newton step for every sample that leaves, refined where asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import first_order_curvature, settled_curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Advance, Engine, Fit, Part, Plan, Units, Work, single_rows
from lapsi.engines.newton.plan import newton_seconds, plan_newton, price_of, spec_of
from lapsi.engines.newton.ridge import ridge_fit
from lapsi.engines.newton.steps import Optimum
from lapsi.engines.newton.streams import closed_forms, converged, refined
from lapsi.engines.newton.tolerance import refinement_of
from lapsi.execution.cost import speed_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import Removed
from lapsi.settings.engine import AUTO, Newton
from lapsi.settings.objective import ANEW
from lapsi.settings.settings import Settings
from lapsi.training.newton import fit_map, inverse_of, reduced_hessian

SHIFT_TOLERANCE = 1e-10
REFINED_TOLERANCE = 1e-5


@final
@dataclass(frozen=True, slots=True)
class NewtonEngine(Engine):
    """Leaves samples out of the converged linear probe in closed form."""

    name: ClassVar[str] = Newton.name
    goes_on: ClassVar[bool] = False

    settings: Settings

    def plan(self, work: Work) -> Plan:
        return plan_newton(work, self.settings)

    def kept(self, plan: Plan) -> dict[str, Any]:
        return {}

    def continued(self, plan: Plan, kept: dict[str, Any]) -> Plan:
        return plan

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
        converges, budget: as planned: whether all samples are converged, and else what refining may cost, in flop.
        origin: of the optimum: the norm of its gradient, and the iterations that it took.
    """

    optimum: Optimum
    curvature: Curvature
    spec: Newton
    converges: bool
    budget: float
    origin: dict[str, Any]

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        """One: it is done in one go."""
        return [Part("newton", 0, n_units, n_units if self.converges or self.budget == 0 else 2 * n_units)]

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows = single_rows(units)[part.start : part.stop]
        if self.converges:
            yield from _told(converged(self.optimum, rows, np.arange(len(rows)), self._small_tolerance()), advance)
        elif self.spec.refine in (AUTO, 0):
            yield from self._to_tolerance(rows, advance)
        else:
            yield from _told(refined(self.optimum, rows, int(self.spec.refine)), advance)

    def settle(self, units: Units, part: Part, positions: np.ndarray) -> Iterator[Removed]:
        if self.spec.refine == AUTO and not self.converges:
            rows = single_rows(units)[part.start : part.stop]
            yield from converged(self.optimum, rows, positions, self._small_tolerance())

    def reference(self, units: Units) -> Iterator[Removed]:
        yield from converged(self.optimum, single_rows(units), np.arange(len(units)), SHIFT_TOLERANCE)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return {**self.origin, "dtype": str(self.optimum.inverse.dtype).removeprefix("torch.")}

    def _to_tolerance(self, rows: Tensor, advance: Advance) -> Iterator[Removed]:
        """The closed form of all samples, then better shifts of those of which too much is estimated to be missing."""
        price = price_of(self.problem)
        refinement = refinement_of(self.optimum, self.curvature, self.spec.tolerance, price, self.budget)
        moved = np.empty(len(rows))
        for removed in _told(closed_forms(self.optimum, rows, refinement.missing.closed), advance):
            moved[removed.positions] = removed.diagnostics["output_change"].cpu().numpy()
            yield removed
        if self.budget > 0:
            yield from refinement.rows(rows, moved, advance)

    def _small_tolerance(self) -> float:
        """Of a shift where no budget is kept."""
        return min(REFINED_TOLERANCE, self.spec.tolerance / 2)


def newton_fit(problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages) -> NewtonFit:
    """The optimum, the inverse Hessian of the leave-one-out step, and the curvature."""
    with stages.stage("fit") as advance:
        fit = fit_map(problem, advance=lambda: advance(1))
        hessian = reduced_hessian(fit)
        inverse = inverse_of(hessian, settings.execution.dtype)
    optimum = Optimum(problem, fit.params, inverse)
    with stages.stage("curvature"):
        if plan.details["settles"]:
            curvature = settled_curvature(problem, fit.params, settings.curvature)
        else:
            streams = plan.details["streams"]
            curvature = first_order_curvature(problem, fit.params, settings.curvature, hessian, inverse, streams=streams)
    origin = {"grad_norm": fit.grad_norm, "n_iterations": fit.n_iterations}
    return NewtonFit(optimum, curvature, spec_of(settings), plan.details["converges"], plan.details["budget"], origin)


def _told(chunks: Iterator[Removed], advance: Advance) -> Iterator[Removed]:
    for removed in chunks:
        advance(len(removed.units))
        yield removed
