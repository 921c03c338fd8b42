"""A torch module trained without each sample, by a recipe, many models at once, from the weights that it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from lapsi.curvature.base import Curvature
from lapsi.curvature.diagonals import structure_of
from lapsi.curvature.ekfac import ExactCurvature, eigenbasis
from lapsi.curvature.said import plain_basis
from lapsi.engines.base import Fit, Part, Units, single_rows
from lapsi.engines.retrain.engine import TRAINED_ALONE
from lapsi.engines.retrain.plan import n_checks, training_parts
from lapsi.errors import InputError
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance, Stages
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import TRAINED, Removed
from lapsi.settings.engine import Retrain
from lapsi.settings.network import NetworkSettings
from lapsi.training.module_optimum import in_float64, set_params, value_and_gradient
from lapsi.training.sampling import steps_per_epoch
from lapsi.training.stacked import NOBODY, StackedTrainer, outputs_at

PART_MODELS = 32
MODEL_BYTES = 2**30  # of what models taken together hold


@final
@dataclass(frozen=True, slots=True, eq=False)
class ModuleRetrainFit(Fit):
    """Everything that training a module without samples takes; build it with `module_retrain_fit`.

    Attributes:
        trainer: the module, its data and the recipe.
        start: (P,) where training starts.
        curvature: of the posteriors.
        spec: options of the engine.
        seed: of batches and noise, the first.
    """

    trainer: StackedTrainer
    start: Tensor
    curvature: Curvature
    spec: Retrain
    seed: int

    @property
    def problem(self) -> ModuleProblem:
        return self.trainer.problem

    @property
    def reference_name(self) -> str:
        return TRAINED_ALONE

    def parts(self, n_units: int) -> list[Part]:
        return training_parts(self.spec, n_units, PART_MODELS)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        return []

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        rows = single_rows(part.units_of(units))
        epochs = set(self.spec.recipe.snapshots(self.spec.every))
        for snapshot in self.trainer(rows, self.start, self.seed + part.seed, epochs, advance):
            yield self._removed(rows, snapshot.params.clone(), snapshot.shift.double(), snapshot.epoch)

    def reference(self, units: Units) -> Iterator[Removed]:
        """One model at a time, in float64, and the one with all samples beside it."""
        alone = replace(self.trainer, problem=in_float64(self.problem), at_once=1)
        epochs = {self.spec.recipe.epochs}
        for position, row in enumerate(single_rows(units)):
            (last,) = alone(row[None], self.start, self.seed, epochs, lambda _: None)
            removed = self._removed(row[None], last.params, last.shift, self.spec.recipe.epochs)
            yield replace(removed, positions=np.array([position]))

    def n_checks(self, verify: int, n_units: int) -> int:
        return n_checks(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        """`grad_norm`: of the mean objective after training: how far that is from its optimum."""
        moved, recipe = in_float64(self.problem), self.spec.recipe
        set_params(moved.layers, params)
        return {
            "dtype": str(self.problem.batches.dtype).removeprefix("torch."),
            "grad_norm": float(value_and_gradient(moved)[1].norm()) / self.problem.total,
            "n_iterations": recipe.epochs * steps_per_epoch(recipe, self.problem.n_samples),
        }

    def _removed(self, rows: Tensor, params: Tensor, shift: Tensor, epoch: int) -> Removed:
        problem = self.problem
        outputs = outputs_at(problem, (params + shift).to(problem.batches.dtype), rows)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        return Removed(rows[:, None], np.arange(len(rows)), params, shift, outputs[:, None], TRAINED, unknown, epoch=epoch)


def module_retrain_fit(problem: ModuleProblem, settings: NetworkSettings, stages: Stages) -> ModuleRetrainFit:
    """Of a module as it is: training starts from its weights.

    Raises:
        InputError: when the recipe clips gradients, or a layer has statistics of batches.
    """
    spec = settings.engine
    assert isinstance(spec, Retrain)
    _require_trainable(problem, spec)
    start = problem.params
    problem = _trained(StackedTrainer(problem, spec.recipe, 1), start, settings.execution.seed)
    basis, plain = plain_basis(problem.layers), plain_basis(problem.layers)
    if settings.curvature in ("kfac", "ekfac"):
        with stages.stage("factors", problem.n_samples) as advance:
            basis = eigenbasis(problem, advance)
    structure = None if settings.curvature == "full" else structure_of(settings.curvature, problem, basis)
    curvature = ExactCurvature(problem, structure, plain)
    per_model = 8 * (8 * problem.n_params + 4 * problem.pass_size * problem.n_params)
    trainer = StackedTrainer(problem, spec.recipe, max(1, min(PART_MODELS, MODEL_BYTES // per_model)))
    return ModuleRetrainFit(trainer, start, curvature, spec, settings.execution.seed)


def _trained(trainer: StackedTrainer, start: Tensor, seed: int) -> ModuleProblem:
    """The problem of a copy of the module, trained on all samples."""
    moved = in_float64(trainer.problem)
    recipe = trainer.recipe
    nobody = torch.tensor([NOBODY])[:0]
    for snapshot in StackedTrainer(moved, recipe, 1)(nobody, start, seed, {recipe.epochs}, lambda _: None):
        set_params(moved.layers, snapshot.params)
    given = trainer.problem.batches.dtype
    return trainer.problem.on(moved.module.to(given), given)


def _require_trainable(problem: ModuleProblem, spec: Retrain) -> None:
    if spec.recipe.clip_norm is not None:
        raise InputError("clip_norm was given, but gradients of networks are not clipped here; leave it out.")
    for name, part in problem.module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and any(value.requires_grad for value in part.parameters()):
            raise InputError(
                f"The module {name!r} is a {type(part).__name__}, whose statistics would come from batches with the sample; "
                "use GroupNorm for retraining."
            )
