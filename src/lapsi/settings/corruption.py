"""What of a data set is changed on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lapsi.errors import InputError
from lapsi.settings.option import Integer, Number, Share, Words, check_options, option

if TYPE_CHECKING:
    import numpy as np  # the command line reads these fields and has no use for it

CORRUPTION = "Change the data on purpose first"


@dataclass(frozen=True, slots=True, eq=False)
class Corruption:
    """What to change before scoring.

    Attributes:
        flip_labels: share of the samples that get another label, all others equally likely (paper, section 4.2).
        human_labels: (N,) labels that people gave, to be used instead; None leaves the given ones.
        lorem_ipsum: share of the texts that are replaced by lorem ipsum of the same length with a random label.
        noise: standard deviation of Gaussian noise on features, in units of each feature's standard deviation.
        noise_classes: classes whose samples get it; none: all.
        seed: of all draws.
    """

    flip_labels: float = option(0.0, Share(), "Share of labels to flip to another class.", panel=CORRUPTION)
    human_labels: np.ndarray | None = None
    lorem_ipsum: float = option(0.0, Share(), "Share of texts to replace by lorem ipsum with a random label.", panel=CORRUPTION)
    noise: float = option(0.0, Number(0), "Gaussian noise on features, in their standard deviations.", panel=CORRUPTION)
    noise_classes: tuple[str, ...] = option((), Words(), "Only on these classes, with commas.", panel=CORRUPTION)
    seed: int = option(0, Integer(0), "Seed of all these changes.", panel=CORRUPTION, flag="corruption-seed")

    def __post_init__(self) -> None:
        check_options(self)
        if self.noise_classes and self.noise == 0:
            raise InputError("noise_classes was given without noise; say how much, e.g. 1.0 standard deviations.")

    def record(self) -> dict[str, Any]:
        """What was asked for, plain JSON values; empty for nothing."""
        asked: dict[str, Any] = {
            name: getattr(self, name) for name in ("flip_labels", "lorem_ipsum", "noise") if getattr(self, name)
        }
        if self.noise_classes:
            asked["noise_classes"] = list(self.noise_classes)
        if self.human_labels is not None:
            asked["human_labels"] = True
        return asked | {"seed": self.seed} if asked else {}
