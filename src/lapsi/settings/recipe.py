"""How a probe is trained step by step: optimiser, schedule, batches, privacy, seeds."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.errors import InputError
from lapsi.settings.validation import require_choice, require_integer, require_number

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine")
TOO_LARGE = 1e30  # squares beyond float32
BATCHINGS = ("full", "sequential", "shuffled", "poisson")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training recipe. The defaults are the paper's: full-batch gradient descent with Nesterov momentum.

    Weight decay belongs to the objective and stands in `Settings`. Where sums are divided by a public number (Poisson batches,
    clipped gradients), leaving a sample out keeps the total N·w: `Settings.removal` makes no difference. The order of
    operations in every step is that of torch.optim, and of opacus where gradients are clipped: a recipe gives the same
    parameters as they do.

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
            require_choice(name, getattr(self, name), choices)
        for name in ("learning_rate", "step_factor"):
            require_number(name, getattr(self, name), 0, TOO_LARGE, beyond=True)
        for name, value in (("momentum", self.momentum), *(("betas", beta) for beta in self.betas)):
            require_number(name, value, 0, 1)
        for name in ("epsilon", "sam_radius", "noise_multiplier"):
            require_number(name, getattr(self, name), 0, TOO_LARGE)
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov is {self.nesterov!r}; expected True or False.")
        for name, least in (("epochs", 0), ("step_epochs", 1), ("seeds", 1)):
            require_integer(name, getattr(self, name), least)
        if self.clip_norm is not None:
            require_number("clip_norm", self.clip_norm, 0, TOO_LARGE, beyond=True, also="None or ")
        if self.batch_size is not None:
            require_integer("batch_size", self.batch_size, 1)
        self._require_sense()

    @property
    def public_divisor(self) -> bool:
        """Whether summed gradients are divided by a number that does not tell who is a member."""
        return self.batching == "poisson" or self.clip_norm is not None

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


PRESETS = {"paper": Recipe()}
