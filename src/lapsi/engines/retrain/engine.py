"""The paper's own way: the model is trained anew without each sample, many models at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.ggn import GgnCurvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer, standardizer_of
from lapsi.engines.base import Engine, Fit, Part, Plan, Units, Work, single_rows
from lapsi.engines.retrain.plan import begun_with, n_checks, plan_retraining, spec_of, training_parts
from lapsi.engines.retrain.steps import probe_trainer
from lapsi.engines.retrain.trainer import Trainer
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.device import synchronize
from lapsi.execution.progress import Advance, Stages
from lapsi.precision.divergence import of_order
from lapsi.problem.base import DescentProblem
from lapsi.problem.network import NetworkProblem
from lapsi.problem.of_dataset import network_problem
from lapsi.problem.removed import TRAINED, Removed
from lapsi.settings.engine import Retrain
from lapsi.settings.settings import Settings
from lapsi.training.sampling import steps_per_epoch

TRAINED_ALONE = "trained alone"
CALIBRATION_ROWS = 8192
CALIBRATION_EPOCHS = 2


@final
@dataclass(frozen=True, slots=True)
class RetrainEngine(Engine):
    """Trains the model anew without each sample, by a recipe."""

    name: ClassVar[str] = Retrain.name

    settings: Settings

    @property
    def spec(self) -> Retrain:
        """The options of the engine."""
        return spec_of(self.settings)

    def plan(self, work: Work) -> Plan:
        return plan_retraining(work, self.settings)

    def kept(self, plan: Plan) -> dict[str, Any]:
        return {"chunk_size": plan.details["chunk_size"]}

    def continued(self, plan: Plan, kept: dict[str, Any]) -> Plan:
        size = begun_with(int(kept["chunk_size"]), plan.details["chunk_size"], plan.cost.limit_bytes)
        return replace(plan, details={**plan.details, "chunk_size": size})

    def seconds(self, plan: Plan, work: Work, dataset: Dataset) -> float:
        """From two epochs of one chunk on the first rows of the data."""
        return _calibrated_seconds(self, plan, work, dataset)

    def fit(self, dataset: Dataset, standardizer: Standardizer, plan: Plan, stages: Stages) -> RetrainFit:
        """The data in the coordinates of training; the model with all samples is trained beside those without one."""
        with stages.stage("prepare"):
            problem = network_problem(dataset, standardizer, self.settings)
        return self.fit_problem(problem, plan.details["chunk_size"])

    def fit_problem(self, problem: NetworkProblem, chunk_size: int) -> RetrainFit:
        """The same for a problem; `chunk_size` models are trained at once."""
        dtype = getattr(torch, self.settings.execution.dtype or "float32")
        trainer = probe_trainer(problem, dtype, self.spec.recipe)
        curvature = GgnCurvature(problem, self.settings.curvature, of_order(self.settings.order))
        return RetrainFit(trainer, curvature, self.spec, chunk_size, self.settings.execution.seed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class RetrainFit(Fit):
    """Everything that training without samples takes.

    Attributes:
        trainer: data and recipe.
        curvature: of the posteriors.
        spec: options of the engine.
        chunk_size: models trained at once.
        seed: of the first training.
    """

    trainer: Trainer[Any]
    curvature: Curvature
    spec: Retrain
    chunk_size: int
    seed: int

    @property
    def problem(self) -> DescentProblem:
        return self.trainer.problem

    @property
    def reference_name(self) -> str:
        return TRAINED_ALONE

    def parts(self, n_units: int) -> list[Part]:
        return training_parts(self.spec, n_units, self.chunk_size)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        return []

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows = single_rows(part.units_of(units))
        epochs = set(self.spec.recipe.snapshots(self.spec.every))
        for snapshot in self.trainer(rows, self.seed + part.seed, epochs, advance):
            yield self._removed(rows, snapshot.params, snapshot.shift, snapshot.epoch)

    def reference(self, units: Units) -> Iterator[Removed]:
        """One model each, trained alone in float64 and without differences."""
        rows, params = single_rows(units), self.trainer.train_one(None, self.seed)
        for position, row in enumerate(rows.tolist()):
            shift = self.trainer.train_one(row, self.seed) - params
            removed = self._removed(rows[position : position + 1], params, shift[None], self.spec.recipe.epochs)
            yield replace(removed, positions=np.array([position]))

    def n_checks(self, verify: int, n_units: int) -> int:
        return n_checks(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        """`grad_norm`: of the mean objective, unclipped: how far training is from its optimum."""
        problem, recipe = self.problem, self.spec.recipe
        params = params.to(problem.device)
        mean = problem.gradient_sum(params, slice(0, problem.n_samples), None) / problem.total
        return {
            "dtype": str(self.trainer.losses.dtype).removeprefix("torch."),
            "grad_norm": float((mean + problem.objective.weight_decay * params).norm()),
            "n_iterations": recipe.epochs * steps_per_epoch(recipe, problem.n_samples),
        }

    def _removed(self, rows: Tensor, params: Tensor, shift: Tensor, epoch: int) -> Removed:
        wide = shift.double()
        outputs = self.problem.own_outputs(params + wide, rows)[:, None]
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        return Removed(rows[:, None], np.arange(len(rows)), params, wide, outputs, TRAINED, unknown, epoch=epoch)


def _calibrated_seconds(engine: RetrainEngine, plan: Plan, work: Work, dataset: Dataset) -> float:
    settings, recipe = engine.settings, engine.spec.recipe
    n_rows = min(dataset.n_samples, CALIBRATION_ROWS)
    standardizer = standardizer_of(dataset.survey, settings.model.standardize)
    problem = network_problem(dataset, standardizer, settings, n_rows)
    short = Retrain(replace(recipe, epochs=CALIBRATION_EPOCHS, schedule="constant"))
    chunk = min(plan.details["chunk_size"], work.n_units, n_rows)
    fit = RetrainEngine(replace(settings, engine=short)).fit_problem(problem, chunk)
    units = torch.arange(chunk, device=problem.inputs.device)[:, None]
    ticks = [_now(problem)]
    (removed,) = fit.remove(units, fit.parts(chunk)[0], lambda _: ticks.append(_now(problem)))
    epoch = float(ticks[2] - ticks[1])
    posterior = _timed(problem, lambda: fit.curvature.divergence(replace(removed, units=units[:1], shift=removed.shift[:1])))
    alone = _timed(problem, lambda: fit.trainer.train_one(0, 0)) / CALIBRATION_EPOCHS
    passes = recipe.seeds * work.n_units * recipe.epochs * epoch / chunk
    snapshots = recipe.seeds * work.n_units * len(recipe.snapshots(engine.spec.every))
    verify = settings.execution.verify
    checks = 0 if verify == 0 else (1 + n_checks(verify, work.n_units)) * recipe.epochs * alone
    return float(dataset.n_samples / n_rows * (passes + snapshots * posterior / 2 + checks))


def _timed(problem: NetworkProblem, work: Any) -> float:
    start = _now(problem)
    work()
    return _now(problem) - start


def _now(problem: NetworkProblem) -> float:
    """Wall seconds, when all that was asked of the device is done."""
    synchronize(problem.inputs.device)
    return time.perf_counter()
