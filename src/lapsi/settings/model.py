"""What is trained."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.settings.option import Choice, Flag, Integer, Numbers, check_options, option

ACTIVATIONS = ("relu", "gelu", "tanh")
PROBE = "Probe and engine"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The probe on the features, and how these reach it.

    Attributes:
        hidden: units of the hidden layers; none: the linear probe. Hidden layers need the engine `Retrain`.
        activation: of the hidden layers: `"relu"`, `"gelu"` or `"tanh"`.
        standardize: scale every feature to mean 0, standard deviation 1 first (constant features become 0).
    """

    hidden: tuple[int, ...] = option(
        (),
        Numbers(Integer(1), "the units of each hidden layer, e.g. (64,) or (64, 32)"),
        "Units of hidden layers, e.g. 64 or 64,32; none: linear.",
        panel=PROBE,
    )
    activation: str = option("relu", Choice(ACTIVATIONS), "Of the hidden layers.", panel=PROBE)
    standardize: bool = option(True, Flag(), "Scale features to mean 0, deviation 1.")

    def __post_init__(self) -> None:
        check_options(self)
