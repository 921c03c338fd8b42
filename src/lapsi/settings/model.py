"""What is trained."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.settings.option import Choice, Integer, Numbers, check_options, option

ACTIVATIONS = ("relu", "gelu", "tanh")
PROBE = "Probe and engine"
AUTO, EACH, ONE, NONE = "auto", "each", "one", "none"
SCALINGS = (EACH, ONE)  # those that "auto" chooses among


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The probe on the features, and how these reach it.

    Attributes:
        hidden: units of the hidden layers; none: the linear probe. Hidden layers need the engine `Retrain`.
        activation: of the hidden layers: `"relu"`, `"gelu"` or `"tanh"`.
        standardize: how features are scaled first. `"each"` (or True): every one to mean 0, standard deviation 1 (constant ones
            become 0). `"one"`: all centred and divided by one number, the root of their mean variance, which keeps the lengths
            and angles that an embedding has. `"none"` (or False): not at all. `"auto"`: `"each"` or `"one"`, whichever has the
            lower leave-one-out loss; `"each"` where features are columns of a table, which have units of their own, and with
            the engine `Retrain`.
    """

    hidden: tuple[int, ...] = option(
        (),
        Numbers(Integer(1), "the units of each hidden layer, e.g. (64,) or (64, 32)"),
        "Units of hidden layers, e.g. 64 or 64,32; none: linear.",
        panel=PROBE,
    )
    activation: str = option("relu", Choice(ACTIVATIONS), "Of the hidden layers.", panel=PROBE)
    standardize: str = option(
        AUTO,
        Choice((AUTO, EACH, ONE, NONE), {True: EACH, False: NONE}),
        "Features: each scaled, all by one factor, none; auto: each or one, by leave-one-out loss; of tables each.",
    )

    def __post_init__(self) -> None:
        check_options(self)
