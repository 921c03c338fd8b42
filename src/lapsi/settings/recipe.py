"""How a probe is trained step by step: optimiser, schedule, batches, privacy, seeds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from lapsi.errors import InputError
from lapsi.settings.option import Choice, Flag, Integer, Number, Numbers, check_options, known_fields, option

RECIPE = "Training recipe (engine retrain; the preset 'paper' where not given)"
TOO_LARGE = 1e30  # squares beyond float32
TOO_SMALL = 1e-30  # nothing in float32, beside what it is added to
USED_BY = {  # what is used by some choices alone: which choice that is, and its values
    "momentum": ("optimizer", ("sgd",)),
    "nesterov": ("optimizer", ("sgd",)),
    "betas": ("optimizer", ("adam", "adamw")),
    "epsilon": ("optimizer", ("adam", "adamw")),
    "step_epochs": ("schedule", ("step",)),
    "step_factor": ("schedule", ("step",)),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training recipe. The defaults are the paper's: full-batch gradient descent with Nesterov momentum.

    Weight decay belongs to the objective and stands in `ObjectiveSpec`. Where sums are divided by a public number (Poisson
    batches, clipped gradients), leaving a sample out keeps the total N·w: `ObjectiveSpec.removal` makes no difference. The
    order of operations in every step is that of torch.optim, and of opacus where gradients are clipped: a recipe gives the
    same parameters as they do.

    Attributes:
        optimizer: `"sgd"`, `"adam"` (weight decay joins the gradient) or `"adamw"` (decoupled weight decay).
        learning_rate: at the start; `schedule` changes it.
        momentum, nesterov: of sgd.
        betas, epsilon: of adam and adamw; an epsilon of 0 would divide by 0 where a gradient vanishes.
        sam_radius: > 0 takes every gradient at the worst point of that distance (sharpness-aware minimisation, SAM).
        schedule: `"constant"`; `"step"`: times `step_factor` after every `step_epochs`; `"cosine"`: to 0 over `epochs`.
        step_epochs, step_factor: of the schedule `"step"`.
        epochs: passes over the data; 0 leaves the probe as it was initialised.
        batching: `"full"`; `"sequential"`: `batch_size` neighbours in the order of the data; `"shuffled"`: in a new random
            order every epoch; `"poisson"`: every sample joins every step with probability batch_size/N, sums are divided by
            `batch_size`. A sample that is left out leaves the membership of all batches as it was.
        batch_size: of all but `"full"`.
        clip_norm: largest norm of a per-sample gradient (DP-SGD); None does not clip. Sums of clipped gradients are divided by
            the batch size with the sample, which is public, for all models.
        noise_multiplier: standard deviation of the Gaussian noise on the summed gradient, in units of `clip_norm`; the same
            noise for the model with all samples and every model without one.
        seeds: number of trainings that are averaged, from initial weights drawn with seed, seed + 1, …
    """

    optimizer: str = option("sgd", Choice(("sgd", "adam", "adamw")), "How a step follows the gradient.", panel=RECIPE)
    learning_rate: float = option(0.04, Number(0, TOO_LARGE, beyond=True), "At the start.", panel=RECIPE)
    momentum: float = option(0.9, Number(0, 1), "Of sgd.", panel=RECIPE)
    nesterov: bool = option(True, Flag(), "Of sgd.", panel=RECIPE)
    betas: tuple[float, float] = option((0.9, 0.999), Numbers(Number(0, 1), "two numbers", 2), "Of adam.", panel=RECIPE)
    epsilon: float = option(1e-8, Number(TOO_SMALL, TOO_LARGE), "Of adam.", panel=RECIPE)
    sam_radius: float = option(0.0, Number(0, TOO_LARGE), "> 0: sharpness-aware (SAM).", panel=RECIPE)
    schedule: str = option("constant", Choice(("constant", "step", "cosine")), "Of the learning rate.", panel=RECIPE)
    step_epochs: int = option(30, Integer(1), "Of schedule step.", panel=RECIPE)
    step_factor: float = option(0.1, Number(0, TOO_LARGE, beyond=True), "Of schedule step.", panel=RECIPE)
    epochs: int = option(1000, Integer(0), "Passes over the data.", panel=RECIPE)
    batching: str = option("full", Choice(("full", "sequential", "shuffled", "poisson")), "Who joins a step.", panel=RECIPE)
    batch_size: int | None = option(None, Integer(1, optional=True), "Of all but full batches.", panel=RECIPE)
    clip_norm: float | None = option(
        None, Number(0, TOO_LARGE, beyond=True, optional=True), "DP-SGD: per-sample gradient norm.", panel=RECIPE
    )
    noise_multiplier: float = option(0.0, Number(0, TOO_LARGE), "DP-SGD: noise in units of the clip norm.", panel=RECIPE)
    seeds: int = option(3, Integer(1), "Trainings to average.", panel=RECIPE)

    def __post_init__(self) -> None:
        check_options(self)
        self._require_sense()

    @property
    def public_divisor(self) -> bool:
        """Whether summed gradients are divided by a number that does not tell who is a member."""
        return self.batching == "poisson" or self.clip_norm is not None

    @property
    def is_random(self) -> bool:
        """Whether batches or noise are drawn, so that two seeds train otherwise from the same weights."""
        return self.batching in ("shuffled", "poisson") or self.noise_multiplier > 0

    def snapshots(self, every: int | None) -> list[int]:
        """Epochs after which LSI is taken: every so many, and the last."""
        return sorted({*range(every, self.epochs, every), self.epochs}) if every else [self.epochs]

    def _require_sense(self) -> None:
        if self.batching != "full" and self.batch_size is None:
            raise InputError(f"batching is {self.batching!r} without a batch_size; give one, e.g. batch_size=256.")
        if self.batching == "full" and self.batch_size is not None:
            raise InputError(
                f"batch_size is {self.batch_size} but batching is 'full'; choose 'sequential', 'shuffled' or 'poisson'."
            )
        if self.noise_multiplier > 0 and self.clip_norm is None:
            raise InputError(
                f"noise_multiplier is {self.noise_multiplier:g} without clip_norm: without clipping no amount of noise hides a "
                "sample. Give clip_norm, e.g. 1.0."
            )
        if self.sam_radius > 0 and self.clip_norm is not None:
            raise InputError("sam_radius and clip_norm were both given; SAM with per-sample clipping is not defined here.")
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise InputError("nesterov needs a momentum greater than 0; turn nesterov off.")
        require_use(self, [field.name for field in fields(self) if getattr(self, field.name) != field.default])


def require_use(recipe: Recipe, names: Collection[str]) -> None:
    """Refuses values that were given but that the recipe has no use for.

    Raises:
        InputError: naming the first of the fields `names` that is so.
    """
    for name, (choice, users) in USED_BY.items():
        made = getattr(recipe, choice)
        if name in names and made not in users:
            raise InputError(
                f"{name} is {getattr(recipe, name)!r} but {choice} {made!r} has no use for it; leave it out, or choose "
                f"{' or '.join(map(repr, users))}."
            )


def used(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a whole recipe but those that it has no use for, which recipes of earlier versions may hold."""
    idle = {name for name, (choice, users) in USED_BY.items() if values.get(choice) not in users}
    return {name: value for name, value in values.items() if name not in idle}


def with_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Stored options of an engine, the recipe among them as an object."""
    if options.get("recipe") is None:
        return options
    return options | {"recipe": Recipe(**used(known_fields(Recipe, options["recipe"])))}


PRESETS = {"paper": Recipe()}
