"""How a probe is trained step by step: optimiser, schedule, batches, privacy, seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lapsi.errors import InputError

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine")
BATCHINGS = ("full", "sequential", "shuffled", "poisson")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training recipe. The defaults are the paper's: full-batch gradient descent with Nesterov momentum.

    Weight decay belongs to the objective and stands in `Settings`. The order of operations in every step is that of
    torch.optim (and of opacus where gradients are clipped), so a recipe gives the same parameters as they do.

    Attributes:
        optimizer: `"sgd"`, `"adam"` (weight decay joins the gradient) or `"adamw"` (decoupled weight decay).
        learning_rate: at the start; `schedule` changes it.
        momentum, nesterov: of sgd.
        betas, epsilon: of adam and adamw.
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

    optimizer: str = "sgd"
    learning_rate: float = 0.04
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    sam_radius: float = 0.0
    schedule: str = "constant"
    step_epochs: int = 30
    step_factor: float = 0.1
    epochs: int = 1000
    batching: str = "full"
    batch_size: int | None = None
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    seeds: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise InputError(f"betas is {self.betas!r}; expected two numbers.")
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("batching", BATCHINGS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(map(repr, choices))}.")
        self._require_numbers()
        self._require_sense()

    def _require_numbers(self) -> None:
        _require(self.learning_rate, "learning_rate", 0.0, math.inf, open_low=True)
        _require(self.momentum, "momentum", 0.0, 1.0)
        for value in self.betas:
            _require(value, "betas", 0.0, 1.0)
        _require(self.epsilon, "epsilon", 0.0, math.inf)
        _require(self.sam_radius, "sam_radius", 0.0, math.inf)
        _require(self.step_factor, "step_factor", 0.0, math.inf, open_low=True)
        _require(self.noise_multiplier, "noise_multiplier", 0.0, math.inf)
        if self.clip_norm is not None:
            _require(self.clip_norm, "clip_norm", 0.0, math.inf, open_low=True)
        for name, least in (("epochs", 0), ("step_epochs", 1), ("seeds", 1)):
            _require_integer(getattr(self, name), name, least)
        if self.batch_size is not None:
            _require_integer(self.batch_size, "batch_size", 1)

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


@dataclass(frozen=True, slots=True)
class Decay:
    """Weight decay of the model with all samples, and how much more of it the models without one have."""

    weight: float
    extra: float = 0.0


def _require(value: object, name: str, low: float, high: float, open_low: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < low or value >= high or (open_low and value == low):  # type: ignore[operator]
        bound = f"{'greater than' if open_low else 'of at least'} {low:g}" + (
            "" if math.isinf(high) else f" and below {high:g}"
        )
        raise InputError(f"{name} is {value!r}; expected a finite number {bound}.")


def _require_integer(value: object, name: str, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; expected an integer of at least {least}.")


PRESETS = {"paper": Recipe()}
