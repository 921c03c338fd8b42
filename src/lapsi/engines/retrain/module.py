"""A torch module trained without each sample, by a recipe, many models at once, from the weights that it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from lapsi.curvature.base import Curvature
from lapsi.curvature.basis import plain_basis
from lapsi.curvature.diagonals import structure_of
from lapsi.curvature.ekfac import ExactCurvature, eigenbasis
from lapsi.engines.base import Fit, Part, Units, single_rows
from lapsi.engines.retrain.engine import TRAINED_ALONE
from lapsi.engines.retrain.plan import n_checks, training_parts
from lapsi.errors import InputError
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance, Stages
from lapsi.models.module.footprint import footprint
from lapsi.precision.divergence import of_order
from lapsi.problem.module import ModuleProblem
from lapsi.problem.removed import TRAINED, Removed
from lapsi.settings.engine import Retrain
from lapsi.settings.network import NetworkSettings
from lapsi.settings.recipe import Recipe
from lapsi.training.module_optimum import in_float64, set_params, value_and_gradient
from lapsi.training.sampling import rows_per_step, steps_per_epoch
from lapsi.training.stacked import NOBODY, StackedTrainer, outputs_at

PART_MODELS = 32
MODEL_BYTES = 2**30  # of what models taken together hold
CACHED_BYTES = 2**21  # of what goes through the layers of one in a step: with more, convolutions side by side are slower
NOISE_FLOOR = "noise_floor"  # in the record of a fit, nats
ROUNDING, ORDER = "rounding", "order"


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
        noise_floor: LSI, nats, of the same training with nothing removed, by what else differs.
    """

    trainer: StackedTrainer
    start: Tensor
    curvature: Curvature
    spec: Retrain
    seed: int
    noise_floor: dict[str, float]

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
            NOISE_FLOOR: self.noise_floor,
        }

    def _removed(self, rows: Tensor, params: Tensor, shift: Tensor, epoch: int) -> Removed:
        problem = self.problem
        outputs = outputs_at(problem, (params + shift).to(problem.batches.dtype), rows)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        return Removed(rows[:, None], np.arange(len(rows)), params, shift, outputs[:, None], TRAINED, unknown, epoch=epoch)


def module_retrain_fit(problem: ModuleProblem, settings: NetworkSettings, stages: Stages) -> ModuleRetrainFit:
    """Of a module as it is: training starts from its weights.

    Raises:
        InputError: when a layer has statistics of batches, or weights or the dtype of the module rule it out.
    """
    spec = settings.engine
    assert isinstance(spec, Retrain)
    _require_trainable(problem, spec)
    start = problem.params
    seed = settings.execution.seed
    with stages.stage("training") as advance:
        whole = trained_on_all(problem, spec.recipe, start, seed, advance)
    moved = in_float64(problem)
    set_params(moved.layers, whole)
    given = problem.batches.dtype
    problem = problem.on(moved.module.to(given), given)
    basis, plain = plain_basis(problem.layers), plain_basis(problem.layers)
    if settings.curvature in ("kfac", "ekfac"):
        with stages.stage("factors", problem.n_samples) as advance:
            basis = eigenbasis(problem, advance)
    structure = None if settings.curvature == "full" else structure_of(settings.curvature, problem, basis)
    curvature = ExactCurvature(problem, structure, plain, of_order(settings.order))
    with stages.stage("noise") as advance:
        floor = _noise_floor(curvature, spec.recipe, (start, whole), seed, advance)
    trainer = StackedTrainer(problem, spec.recipe, models_at_once(problem, spec.recipe))
    return ModuleRetrainFit(trainer, start, curvature, spec, seed, floor)


def models_at_once(problem: ModuleProblem, recipe: Recipe) -> int:
    """How many are trained together: as many as memory holds; one, where a step of that fills the caches of a processor."""
    given = problem.batches
    if problem.params.device.type == "cpu":
        taken, n_rows = footprint(problem.module, problem.layers, given), rows_per_step(recipe, problem.n_samples)
        if n_rows * (taken.inputs + taken.left) * given.dtype.itemsize > CACHED_BYTES:
            return 1
    return max(1, min(PART_MODELS, MODEL_BYTES // model_bytes(problem)))


def model_bytes(problem: ModuleProblem) -> int:
    """Of one of several models that are trained together."""
    return 8 * (8 * problem.n_params + 4 * problem.pass_size * problem.n_params)


def trained_on_all(problem: ModuleProblem, recipe: Recipe, start: Tensor, seed: int, advance: Advance) -> Tensor:
    """Params (P,) float64 of the module trained on all samples, in float64."""
    trainer, nobody = StackedTrainer(in_float64(problem), recipe, 1), torch.tensor([NOBODY])[:0]
    (last,) = trainer(nobody, start, seed, {recipe.epochs}, advance)
    return last.params


def rounded_otherwise(params: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """Params (P,) that differ in the last digit of a dtype, up or down at random."""
    signs = torch.randn(len(params), dtype=params.dtype, generator=torch.Generator().manual_seed(seed)).sign().to(params.device)
    return params * (1 + torch.finfo(dtype).eps * signs)


def _noise_floor(
    curvature: ExactCurvature, recipe: Recipe, ends: tuple[Tensor, Tensor], seed: int, advance: Advance
) -> dict[str, float]:
    """What LSI would be of a sample that says nothing: the same training from weights that differ in the last digit of the
    module's dtype, and, where batches are drawn, with others of them. `ends`: where training on all samples begins and ends."""
    (start, whole), problem = ends, curvature.problem
    others = {ROUNDING: (rounded_otherwise(start, problem.batches.dtype, seed), seed)}
    if recipe.batching != "full":
        others[ORDER] = (start, seed + recipe.seeds)
    return {
        name: curvature.between(whole, trained_on_all(problem, recipe, *other, advance) - whole)
        for name, other in others.items()
    }


def _require_trainable(problem: ModuleProblem, spec: Retrain) -> None:
    if problem.weights is not None and spec.recipe.public_divisor:
        raise InputError(
            "Samples have weights, but Poisson batches and clipped gradients divide their sums by a public number of samples; "
            "leave sample_weight out, or use other batches."
        )
    if problem.batches.dtype.itemsize < torch.float32.itemsize:
        raise InputError(
            f"The module is in {problem.batches.dtype}, which training without a sample is too fine for; "
            "convert it first (model.float())."
        )
    for name, part in problem.module.named_modules():
        own = [value.requires_grad for value in part.parameters()]
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats and (any(own) or not own):
            raise InputError(
                f"The module {name!r} is a {type(part).__name__}, whose statistics would come from batches with the sample; "
                "use GroupNorm for retraining."
            )
