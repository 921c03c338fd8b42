"""How samples leave: the engines that a user can ask for, each with its own options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lapsi.errors import InputError
from lapsi.settings.model import PROBE
from lapsi.settings.option import Integer, Number, check_options, option
from lapsi.settings.recipe import RECIPE, Recipe

AUTO, ALL = "auto", "all"
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Auto:
    """The closed form by the engine that fits into memory and time, chosen when the data are known: `Newton` or `Local`.

    Attributes:
        tolerance: theirs.
    """

    name: ClassVar[str] = AUTO

    tolerance: float = option(TOLERANCE, Number(0.0, beyond=True), "Relative error of LSI that is left, as time allows.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Newton:
    """The closed form: one exact leave-one-out Newton step of the converged linear probe.

    Attributes:
        refine: what follows the closed form. `"auto"`: on small data every sample is converged to its leave-one-out optimum;
            else those whose estimated error is above the tolerance are refined until it is below. A number: so many
            chord-Newton steps for every sample, each 8·N·D·C flop, and an exact pass for the change of the curvature. 0: the
            closed form alone.
        tolerance: of `refine="auto"`: the relative error of LSI that is left. The rows of the largest estimated error are
            refined first, within half a minute on two cores or a quarter of the run's cost, whichever is more; `lsi_error` and
            `refinement` mark those that stay above.
    """

    name: ClassVar[str] = "newton"

    refine: int | str = option(
        AUTO, Integer(0, word=AUTO), "newton: 'auto', or chord-Newton steps for each sample.", panel=PROBE
    )
    tolerance: float = option(
        TOLERANCE,
        Number(0.0, beyond=True),
        "Closed form: relative error of LSI that is left, as time allows.",
        panel=PROBE,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.refine != AUTO and self.tolerance != TOLERANCE:
            raise InputError(
                f"tolerance is {self.tolerance:g} but refine is {self.refine}, so many steps whatever they leave; expected "
                "refine 'auto', or no tolerance."
            )


@dataclass(frozen=True, slots=True)
class Local:
    """The closed form for many outputs: memory linear in their number, exact among those that are coupled; `diag`, `kfac`.

    Attributes:
        coupled: outputs that are solved together, each with those most coupled to it. More are nearer to the exact step and
            take more memory and time; all of them are the exact step.
        tolerance: the relative error of LSI that is asked for. The rows of the largest estimated error are refined first,
            within a quarter of the run's cost (seven tenths, where all outputs are solved together), those of the highest LSI
            before them within a twentieth of that; `lsi_error` and `refinement` mark those that stay above.
        converge: how many samples of the highest LSI, as it then is, are refined to the tolerance whatever that takes; or
            `"all"`.
    """

    name: ClassVar[str] = "local"

    coupled: int = option(8, Integer(1), "local: outputs solved together, each with those most coupled to it.", panel=PROBE)
    tolerance: float = option(
        TOLERANCE, Number(0.0, beyond=True), "Closed form: relative error of LSI that is left, as time allows.", panel=PROBE
    )
    converge: int | str = option(
        0, Integer(0, word=ALL), "local: samples of the highest LSI that are refined in any case, or 'all'.", panel=PROBE
    )

    def __post_init__(self) -> None:
        check_options(self)

    def highest(self, n_samples: int) -> int:
        """How many of some samples are refined in any case."""
        return n_samples if self.converge == ALL else min(int(self.converge), n_samples)


@dataclass(frozen=True, slots=True)
class Retrain:
    """The paper's own definition: the probe is trained anew without each sample.

    Attributes:
        recipe: how it is trained; the paper's by default.
        every: LSI is also kept after every so many epochs.
    """

    name: ClassVar[str] = "retrain"

    recipe: Recipe = field(default_factory=Recipe)
    every: int | None = option(None, Integer(1, optional=True), "Also keep LSI after every EVERY epochs.", panel=RECIPE)

    def __post_init__(self) -> None:
        check_options(self)
        if not isinstance(self.recipe, Recipe):
            raise InputError(f"recipe is {self.recipe!r}; expected a lapsi.Recipe.")
        if self.every is not None and self.every > max(1, self.recipe.epochs):
            raise InputError(f"every is {self.every} but training has {self.recipe.epochs} epochs; expected at most that.")


EngineSpec = Auto | Newton | Local | Retrain
ENGINES: dict[str, type[Newton] | type[Local] | type[Retrain]] = {engine.name: engine for engine in (Newton, Local, Retrain)}
