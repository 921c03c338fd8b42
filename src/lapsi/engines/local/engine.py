"""The closed-form engine for many outputs: memory linear in their number, exact among those that are coupled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from lapsi.curvature.blocks import DENSE, LOCAL, nearest_outputs, samples_of
from lapsi.curvature.diag import DiagCurvature, diag_curvature
from lapsi.curvature.slope import local_slope
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Engine, Fit, Part, Plan, Units, Work, again, parts_of, single_rows
from lapsi.engines.local.inverse import inverse_hessian
from lapsi.engines.local.plan import local_seconds, plan_local
from lapsi.engines.local.steps import REFERENCE_CHUNK, Converging, LocalStep, converged, pull_of
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.cost import speed_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Advance, Stages
from lapsi.problem.base import mean_weight
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, Removed
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings
from lapsi.training.krylov import fit_without_hessian

PART_UNITS = 8192  # samples of like predictions share products


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
        problem = linear_problem(dataset, standardizer, self.settings).in_outputs()
        return local_fit(problem, plan.details["coupled"], Converging(**plan.details["converging"]), stages)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalFit(Fit):
    """The optimum of all samples and the local inverse; build it with `local_fit`.

    Attributes:
        step: the closed form.
        curvature: of the posterior at the optimum.
        converging: which samples are converged.
    """

    step: LocalStep
    curvature: DiagCurvature
    converging: Converging

    @property
    def problem(self) -> LinearProblem:
        return self.step.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        first = parts_of("seed0", np.arange(n_units), PART_UNITS, CLOSED_FORM)
        return [replace(part, is_final=False) for part in first]

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        """Those of the highest LSI among all samples are converged, and those of which the closed form is doubtful."""
        if done[-1].way == CONVERGED:
            return []
        lsi = np.nan_to_num(found["lsi_mean"][-1] + found["lsi_curvature"][-1], nan=np.inf)
        chosen = self.converging.of(lsi, found["leverage"])
        advance(self.later_steps(len(lsi)) - len(chosen))
        return again(parts_of("converged", chosen, REFERENCE_CHUNK, CONVERGED))

    def mending(self, positions: np.ndarray) -> list[Part]:
        return again(parts_of("mended", positions, REFERENCE_CHUNK, CONVERGED))

    def later_steps(self, n_units: int) -> int:
        return min(self.converging.highest + self.converging.doubtful, n_units)

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        everyone = single_rows(part.units_of(units))
        if part.way == CONVERGED:
            yield from converged(self.step, everyone, np.arange(len(everyone)), advance)
            return
        for rows, positions in self.step.chunks(everyone):
            yield self.step.removed(rows, positions)
            advance(len(rows))

    def reference(self, units: Units) -> Iterator[Removed]:
        yield from converged(self.step, single_rows(units), np.arange(len(units)))

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        optimum = self.step.optimum
        return {"grad_norm": optimum.grad_norm, "n_iterations": optimum.n_iterations, "dtype": "float32"}


def local_fit(problem: LinearProblem, coupled: int, converging: Converging, stages: Stages) -> LocalFit:
    """The optimum, the local inverse Hessian, and the curvature; of a problem that sees all outputs."""
    with stages.stage("fit") as advance:
        optimum = fit_without_hessian(problem, advance=lambda: advance(1))
    with stages.stage("blocks"):
        samples = samples_of(problem, optimum.params, DENSE if coupled == problem.model.n_outputs else LOCAL)
        nearest = nearest_outputs(samples, coupled)
        l2 = problem.objective.l2(problem.total) - problem.objective.l2_drop(mean_weight(problem))
        inverse = inverse_hessian(samples, nearest, l2)
        step = LocalStep(problem, optimum, inverse, pull_of(problem, optimum), samples.cuts.of_support)
    with stages.stage("curvature"):
        curvature = diag_curvature(problem, optimum.params, local_slope(samples, nearest))
    return LocalFit(step, curvature, converging)
