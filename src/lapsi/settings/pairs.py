"""How pairs are scored: two projections into one space, by a contrastive loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lapsi.errors import InputError
from lapsi.settings.divergence import divergence_option, order_option, required_order
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.model import EACH, NONE, ONE
from lapsi.settings.objective import AUTO, MAP, ObjectiveSpec
from lapsi.settings.option import Choice, Integer, Number, check_options, known_fields, option
from lapsi.settings.recipe import Recipe, with_recipe

PAIR_RECIPE = Recipe(optimizer="adam", learning_rate=0.01, epochs=1000, seeds=1)
PAIR_PRIOR = 1.0  # of the authors' code
STRUCTURES = ("diag", "kfac", "full")


@dataclass(frozen=True, slots=True)
class PairSpec:
    """The projections and their loss; the defaults are the paper's.

    Attributes:
        dimensions: of the space into which images and texts are projected.
        temperature: by which cosines are divided.
        standardize: how features are scaled first, as in `ModelSpec`; `"none"`: not at all.
    """

    dimensions: int = option(256, Integer(2), "Of the space into which both are projected.")
    temperature: float = option(0.5, Number(0, beyond=True), "By which cosines are divided.")
    standardize: str = option(NONE, Choice((EACH, ONE, NONE)), "Features: each scaled, all by one factor, or none.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class PairSettings:
    """How pairs are scored, one object a noun.

    Attributes:
        pairs: the projections.
        objective: what is minimised beside the contrastive loss. A cosine knows no length, so a weight decay would shrink the
            projections without an end: it is 0, and the prior precision a number (1, as the authors have it), where neither is
            given.
        engine: the recipe; Adam at 0.01 for 1,000 epochs on all pairs at once by default.
        curvature: structure of the posterior precision: `"diag"`, `"kfac"` (a projection) or `"full"`.
        execution: where it runs, within which limits, and how far it is checked.
        divergence, order: as in `Settings`.
    """

    pairs: PairSpec = field(default_factory=PairSpec)
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    engine: Retrain = field(default_factory=lambda: Retrain(PAIR_RECIPE))
    curvature: str = option("diag", Choice(STRUCTURES, {"kron": "kfac"}), "Structure of the posterior precision.")
    execution: Execution = field(default_factory=Execution)
    divergence: str = divergence_option()
    order: float = order_option()

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "order", required_order(self.divergence, self.order))
        if self.curvature == "kfac" and self.order != 1:
            raise InputError(
                "divergence is 'renyi' but curvature is 'kfac' of pairs, both of whose factors change: a mixture of two such "
                "has no factors. Use curvature 'diag', or 'full' of few parameters."
            )
        if self.engine.recipe.clip_norm is not None:
            raise InputError(
                f"clip_norm is {self.engine.recipe.clip_norm:g}, but the loss of a pair depends on all others, so none has a "
                "gradient of its own to clip; leave it out."
            )
        if self.engine.recipe.batch_size == 1:
            raise InputError("batch_size is 1, but a pair is told from the others of its batch; expected at least 2.")
        chosen = self.objective
        if chosen.weight_decay == AUTO:
            chosen = replace(chosen, weight_decay=0.0)
        if chosen.weight_decay == 0 and chosen.prior_precision == MAP:
            chosen = replace(chosen, prior_precision=PAIR_PRIOR)
        if self.engine.recipe.public_divisor:
            chosen = replace(chosen, removal="sum")
        object.__setattr__(self, "objective", chosen)

    @property
    def model_in_words(self) -> str:
        """E.g. "projections to 256 dimensions"."""
        return f"projections to {self.pairs.dimensions} dimensions"

    @property
    def is_open(self) -> bool:
        """Nothing is left to be chosen."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        values = asdict(self)
        if not isinstance(self.objective.noise_variance, str):
            values["objective"]["noise_variance"] = list(self.objective.noise_variance)
        values["engine"] = {"name": self.engine.name, **values["engine"]}
        values["engine"]["recipe"]["betas"] = list(self.engine.recipe.betas)
        return values


def pair_settings_from_dict(values: dict[str, Any]) -> PairSettings:
    """The settings of a run from `PairSettings.to_dict`; fields that are not known (of a later version) are left out.

    Raises:
        InputError: when a value is none that a setting can have.
    """
    return PairSettings(
        PairSpec(**known_fields(PairSpec, values["pairs"])),
        ObjectiveSpec(**known_fields(ObjectiveSpec, values["objective"])),
        Retrain(**with_recipe(known_fields(Retrain, values["engine"]))),
        values["curvature"],
        Execution(**known_fields(Execution, values["execution"])),
        **{name: values[name] for name in ("divergence", "order") if name in values},
    )
