"""The closed-form engine for many outputs: memory linear in their number, exact among those that are coupled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from lapsi.curvature.blocks import DENSE, LOCAL, nearest_outputs, samples_of
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Engine, Fit, Plan, Work
from lapsi.engines.local.curvature import local_curvature
from lapsi.engines.local.inverse import inverse_hessian
from lapsi.engines.local.plan import local_seconds, plan_local, price_of, spec_of
from lapsi.engines.local.steps import LocalStep, pull_of
from lapsi.engines.removal.fit import ClosedFormFit, Course
from lapsi.engines.removal.tolerance import refinement_of
from lapsi.execution.cost import speed_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.precision.divergence import of_order
from lapsi.problem.base import mean_weight
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings
from lapsi.training.krylov import fit_without_hessian


@final
@dataclass(frozen=True, slots=True)
class LocalEngine(Engine):
    """Leaves samples out of the converged linear probe of many outputs, in closed form among those that are coupled."""

    name: ClassVar[str] = Local.name

    settings: Settings

    def plan(self, work: Work) -> Plan:
        return plan_local(work, self.settings)

    def kept(self, plan: Plan) -> dict[str, Any]:
        return plan.details

    def continued(self, plan: Plan, kept: dict[str, Any]) -> Plan:
        return replace(plan, details=kept)

    def seconds(self, plan: Plan, work: Work, dataset: Dataset) -> float:
        return local_seconds(plan, speed_of(device_of(self.settings.execution.device)))

    def fit(self, dataset: Dataset, standardizer: Standardizer, plan: Plan, stages: Stages) -> Fit:
        problem = linear_problem(dataset, standardizer, self.settings)
        return local_fit(problem, self.settings, plan, stages)


def local_fit(seen: LinearProblem, settings: Settings, plan: Plan, stages: Stages) -> ClosedFormFit:
    """The optimum and the local inverse Hessian, in outputs, the curvature of the settings, and what the closed form misses."""
    spec = spec_of(settings)
    problem, coupled, refinement = seen.in_outputs(), plan.details["coupled"], None
    with stages.stage("fit") as advance:
        optimum = fit_without_hessian(problem, advance=lambda: advance(1))
        params = optimum.params
    with stages.stage("blocks"):
        samples = samples_of(problem, params, DENSE if coupled == problem.model.n_outputs else LOCAL)
        nearest = nearest_outputs(samples, coupled)
        l2 = problem.objective.l2(problem.total) - problem.objective.l2_drop(mean_weight(problem))
        inverse, metric = inverse_hessian(samples, nearest, l2), optimum.blocks.factors.square().sum(2)
        pull = pull_of(problem, optimum)
        step = LocalStep(problem, params, metric, inverse, pull, optimum.blocks, samples.cuts)
    with stages.stage("curvature"):
        curvature = local_curvature(settings.curvature, seen, samples, nearest, params, pull).by(of_order(settings.order))
    converges = plan.details["converges"]
    course = Course(CONVERGED if converges else CLOSED_FORM, 0, spec.tolerance, not converges)
    if course.goes_on:
        with stages.stage("probe"):
            price, highest = price_of(problem, coupled), spec.highest(problem.n_samples)
            refinement = refinement_of(step, curvature, spec.tolerance, price, plan.details["budget"], highest)
    origin = {"grad_norm": optimum.grad_norm, "n_iterations": optimum.n_iterations}
    return ClosedFormFit(step, curvature, course, refinement, origin)
