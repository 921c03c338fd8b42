"""The closed-form engine: the converged linear probe, and one Newton step for every sample that leaves, refined where asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import first_order_curvature, settled_curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Engine, Fit, Plan, Work
from lapsi.engines.newton.plan import continued, newton_seconds, plan_newton, price_of, spec_of
from lapsi.engines.newton.ridge import ridge_fit
from lapsi.engines.newton.steps import DenseStep
from lapsi.engines.removal.fit import ClosedFormFit, Course
from lapsi.engines.removal.tolerance import refinement_of
from lapsi.execution.cost import speed_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.precision.divergence import of_order
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, REFINED
from lapsi.settings.engine import AUTO, Newton
from lapsi.settings.objective import ANEW
from lapsi.settings.settings import Settings
from lapsi.training.krylov import fit_with_inverse
from lapsi.training.newton import fit_map, hessian_dtype

SLOPE_SHARE = 0.4  # of the tolerance, for the first-order change of the others' curvature


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
            return ridge_fit(fit_map(problem), self.settings)
        return newton_fit(problem, self.settings, plan, stages)


def newton_fit(problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages) -> ClosedFormFit:
    """The optimum, the inverse Hessian of the leave-one-out step, the curvature, and what is missing of the closed form."""
    step, curvature, origin = _posterior(problem, settings, plan, stages)
    course, refinement = _course(spec_of(settings), plan), None
    if course.way == CLOSED_FORM:
        with stages.stage("probe"):
            refinement = refinement_of(step, curvature, course.tolerance, price_of(problem), plan.details["budget"])
    return ClosedFormFit(step, curvature, course, refinement, origin)


def _course(spec: Newton, plan: Plan) -> Course:
    if spec.refine == AUTO:
        return Course(CONVERGED if plan.details["converges"] else CLOSED_FORM, 0, spec.tolerance, not plan.details["converges"])
    return Course(CLOSED_FORM if spec.refine == 0 else REFINED, int(spec.refine), spec.tolerance, False)


def _posterior(
    problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages
) -> tuple[DenseStep, Curvature, dict[str, Any]]:
    """Where the steps start, the curvature there, and how it was reached."""
    with stages.stage("fit") as advance:
        made = hessian_dtype(problem, exact=settings.curvature == "full" or settings.execution.dtype == "float64")
        fit = fit_with_inverse(problem, settings.execution.dtype, made, advance=lambda: advance(1))
    params, inverse = fit.params, fit.inverse
    step, origin = DenseStep(problem, params, inverse), {"grad_norm": fit.grad_norm, "n_iterations": fit.n_iterations}
    with stages.stage("curvature"):
        if plan.details["settles"]:
            curvature = settled_curvature(problem, params, settings.curvature)
        else:
            streams = plan.details["streams"]
            error = SLOPE_SHARE * spec_of(settings).tolerance
            curvature = first_order_curvature(problem, params, settings.curvature, inverse, streams=streams, error=error)
    return step, curvature.by(of_order(settings.order)), origin
