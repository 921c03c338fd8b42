"""The closed-form engine: the converged linear probe, and one Newton step for every sample that leaves, refined where asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import first_order_curvature, settled_curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.engines.base import Advance, Engine, Fit, Part, Plan, Units, Work, single_rows
from lapsi.engines.newton.neighbours import Neighbours, neighbours_of
from lapsi.engines.newton.plan import newton_seconds, plan_newton, spec_of
from lapsi.engines.newton.steps import Optimum, Removal, chunk_size, relative_norm, removal_of
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.softmax import softmax
from lapsi.problem.linear import LinearProblem
from lapsi.problem.objective import Objective
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, REFINED, Removed
from lapsi.settings.engine import AUTO, Newton
from lapsi.settings.settings import Settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

FLOAT32_CONDITION = 1e-2 / float(np.finfo(np.float32).eps)
REFINED_CHUNK = 128
SHIFT_TOLERANCE = 1e-10
REFINED_TOLERANCE = 1e-5
PROBES = 64  # samples whose correction tells how far off the closed form is
PROBE_QUANTILE = 0.98
LEFT_BY_CORRECTION = 0.5  # at most, of what the correction changes (measured on CIFAR-10 features)
FLOOR = 2.5e-5  # what rounding in float32 and the share of the weight decay leave at least


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
        return newton_seconds(plan, device_of(self.settings.execution.device))

    def fit(self, dataset: Dataset, standardizer: Standardizer, plan: Plan, stages: Stages) -> NewtonFit:
        problem = linear_problem(dataset, standardizer, self.settings)
        return newton_fit(problem, self.settings, plan, stages)


@final
@dataclass(frozen=True, slots=True, eq=False)
class NewtonFit(Fit):
    """The optimum of all samples, and the matrices that carry it to those without one; build it with `newton_fit`.

    Attributes:
        optimum: where the steps start.
        curvature: of the posterior there.
        refine: as in `Newton`.
        n_refined, converges: as planned: how many samples go beyond the closed form, and whether these are converged.
        origin: of the optimum: the norm of its gradient, and the iterations that it took.
    """

    optimum: Optimum
    curvature: Curvature
    refine: int | str
    n_refined: int
    converges: bool
    origin: dict[str, Any]

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        """One: it is done in one go."""
        return [Part("newton", 0, n_units, n_units + (0 if self.converges else self.n_refined))]

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows = single_rows(units)[part.start : part.stop]
        chunks = self._converged(rows, np.arange(len(rows)), REFINED_TOLERANCE) if self.converges else self._steps(rows)
        for removed in chunks:
            advance(len(removed.units))
            yield removed

    def settle(self, units: Units, part: Part, positions: np.ndarray) -> Iterator[Removed]:
        if self.refine == AUTO and not self.converges:
            yield from self._converged(single_rows(units)[part.start : part.stop], positions, REFINED_TOLERANCE)

    def reference(self, units: Units) -> Iterator[Removed]:
        yield from self._converged(single_rows(units), np.arange(len(units)), SHIFT_TOLERANCE)

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return {**self.origin, "dtype": str(self.optimum.inverse.dtype).removeprefix("torch.")}

    def _steps(self, rows: Tensor) -> Iterator[Removed]:
        """The closed form of all samples, then the corrections of those whose outputs move most."""
        if self.refine not in (AUTO, 0):
            yield from self._refined(rows, int(self.refine))
            return
        moved, neighbours = np.empty(len(rows)), neighbours_of(self.optimum)
        by_move, by_step = self._missing_shares(neighbours)
        for removed in self._closed_form(rows, by_move):
            moved[removed.positions] = removed.diagnostics["output_change"].cpu().numpy()
            yield removed
        if self.n_refined > 0:
            picked = np.argsort(-np.nan_to_num(moved, nan=np.inf), kind="stable")[: self.n_refined]
            yield from self._corrected(rows, picked, neighbours, LEFT_BY_CORRECTION * by_step)

    def _missing_shares(self, neighbours: Neighbours) -> tuple[float, float]:
        """What the closed form misses, for each unit by which outputs move, and for each unit of the correction's step.

        From what the correction changes of the divergence, which goes with the square of the shift, of samples spread over the
        data: the same whichever samples leave.
        """
        n_samples = self.problem.n_samples
        rows = torch.arange(0, n_samples, max(1, n_samples // PROBES), device=self.problem.inputs.device)
        shares = []
        for part in rows.split(self._refined_chunk(self.optimum.inverse.dtype)):
            removal, positions = removal_of(self.optimum, part), np.arange(len(part))
            shift = removal.newton_step()
            step = neighbours.step(removal, shift)
            closed, better = (_removed(removal, positions, each, CLOSED_FORM) for each in (shift, shift - step))
            missing = (self.curvature.divergence(better).total / self.curvature.divergence(closed).total - 1).abs() / 2
            shares.append(torch.stack([missing / closed.diagnostics["output_change"], missing / relative_norm(step, shift)]))
        by_move, by_step = torch.cat(shares, 1).nan_to_num(posinf=0.0).quantile(PROBE_QUANTILE, dim=1).tolist()
        return by_move, by_step

    def _chunks(self, rows: Tensor) -> Iterator[tuple[np.ndarray, Removal]]:
        """Positions and removals, in chunks that share one workspace."""
        inverse = self.optimum.inverse
        size = min(len(rows), chunk_size(self.problem, inverse.dtype))
        workspace = inverse.new_empty(self.problem.model.n_directions, size, len(inverse))
        for start in range(0, len(rows), size):
            removal = removal_of(self.optimum, rows[start : start + size], workspace)
            yield np.arange(start, start + len(removal.rows)), removal

    def _closed_form(self, rows: Tensor, missing: float) -> Iterator[Removed]:
        """The Newton step alone."""
        for positions, removal in self._chunks(rows):
            removed = _removed(removal, positions, removal.newton_step(), CLOSED_FORM)
            yield replace(removed, remaining=missing * removed.diagnostics["output_change"] + FLOOR)

    def _refined(self, rows: Tensor, steps: int) -> Iterator[Removed]:
        """The Newton step and `steps` chord steps after it."""
        for positions, removal in self._chunks(rows):
            shift, remaining = removal.chord_steps(steps)
            yield _removed(removal, positions, shift, REFINED, remaining)

    def _corrected(self, rows: Tensor, positions: np.ndarray, neighbours: Neighbours, missing: float) -> Iterator[Removed]:
        """The closed form, and the second-order term of the nearest neighbours."""
        for part in _split(positions, self._refined_chunk(self.optimum.inverse.dtype)):
            removal = removal_of(self.optimum, rows[torch.as_tensor(part, device=rows.device)])
            shift = removal.newton_step()
            step = neighbours.step(removal, shift)
            remaining = missing * relative_norm(step, shift) + FLOOR
            yield _removed(removal, part, shift - step, CORRECTED, remaining)

    def _converged(self, rows: Tensor, positions: np.ndarray, tolerance: float) -> Iterator[Removed]:
        """Chord-Newton steps for each sample until what remains is below `tolerance` relative to the shift."""
        for part in _split(positions, self._refined_chunk(torch.float64)):
            removal = removal_of(self.optimum, rows[torch.as_tensor(part, device=rows.device)])
            shift, remaining = removal.settle(tolerance)
            yield _removed(removal, part, shift, CONVERGED, remaining)

    def _refined_chunk(self, dtype: torch.dtype) -> int:
        """Samples that are taken beyond the closed form at once."""
        return min(REFINED_CHUNK, chunk_size(self.problem, dtype))


def newton_fit(problem: LinearProblem, settings: Settings, plan: Plan, stages: Stages) -> NewtonFit:
    """The optimum, the inverse Hessian of the leave-one-out step, and the curvature."""
    with stages.stage("fit") as advance:
        fit = fit_map(problem, advance=lambda: advance(1))
        hessian = reduced_hessian(fit)
        inverse = _inverse(hessian, settings.execution.dtype)
    optimum = Optimum(problem, fit.params, inverse)
    with stages.stage("curvature"):
        if plan.details["settles"]:
            curvature = settled_curvature(problem, fit.params, settings.curvature)
        else:
            streams = plan.details["streams"]
            curvature = first_order_curvature(problem, fit.params, settings.curvature, hessian, inverse, streams=streams)
    origin = {"grad_norm": fit.grad_norm, "n_iterations": fit.n_iterations}
    n_refined, converges = plan.details["n_refined"], plan.details["converges"]
    return NewtonFit(optimum, curvature, spec_of(settings).refine, n_refined, converges, origin)


def linear_problem(dataset: Dataset, standardizer: Standardizer, settings: Settings) -> LinearProblem:
    """The problem of the linear probe on a data set."""
    device = device_of(settings.execution.device)
    inputs = torch.from_numpy(standardizer.all_inputs(dataset.features)).to(device)
    targets = torch.from_numpy(dataset.targets.values).to(device)
    objective = settings.objective
    chosen = Objective(objective.weight_decay, objective.prior_precision, objective.removal)
    return LinearProblem(inputs, targets, softmax(dataset.targets.n_outputs, device), chosen)


def _inverse(hessian: Tensor, dtype: str | None) -> Tensor:
    """H⁻¹ in the asked dtype, or in float32 where rounding, amplified by the condition number, stays below 1e-2.

    The bound is pessimistic: at a condition number of 1e4 the shifts differ from those in float64 by 1e-6.
    """
    inverse = invert(hessian)
    if dtype is None:
        condition = torch.linalg.matrix_norm(hessian, 1) * torch.linalg.matrix_norm(inverse, 1)
        dtype = "float32" if float(condition) <= FLOAT32_CONDITION else "float64"
    return inverse.to(getattr(torch, dtype))


def _output_change(removal: Removal, shift: Tensor) -> Tensor:
    """(n, K) how the outputs of each sample that leaves move."""
    return removal.optimum.problem.own_output_change(removal.units, shift)[:, 0]


def _removed(
    removal: Removal, positions: np.ndarray, shift: Tensor, refinement: str, remaining: Tensor | None = None
) -> Removed:
    change = _output_change(removal, shift)
    remaining = torch.full((len(shift),), torch.nan, dtype=torch.float64) if remaining is None else remaining
    diagnostics = {"leverage": removal.leverage(), "output_change": change.abs().amax(1)}
    outputs = (removal.outputs + change)[:, None]
    params = removal.optimum.params
    return Removed(removal.units, positions, params, shift, outputs, refinement, remaining, diagnostics)


def _split(positions: np.ndarray, size: int) -> list[np.ndarray]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]
