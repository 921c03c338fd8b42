"""Every choice that shapes a run on a trained torch module, in one frozen object that is stored with the scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from lapsi.errors import InputError
from lapsi.settings.divergence import divergence_option, order_option, required_order
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.objective import ANEW, AUTO, MAP, PAPER_DECAY, ObjectiveSpec
from lapsi.settings.option import Choice, Integer, Number, Words, check_options, known_fields, option
from lapsi.settings.recipe import Recipe, with_recipe

LOSSES = AUTO_LOSS, CROSS_ENTROPY, NEXT_TOKEN, BINARY, SQUARED = ("auto", "cross_entropy", "next_token", "bce", "mse")
DRAWS = 4
TOKENS_COUNT = SUM, MEAN = ("sum", "mean")
STRUCTURES = ("diag", "kfac", "ekfac", "full")
ALL, LAST_LAYER = "all", "last_layer"


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """The module, and which of its parameters are in the posterior.

    Attributes:
        module: name of its class.
        params: `("all",)`, `("last_layer",)`, or names of modules in it, blocks with all that is in them.
        loss: `"cross_entropy"`, of a sample or of each token of a text; `"next_token"`, of what follows each token; `"bce"`
            (binary cross entropy with logits) or `"mse"` (½‖z − y‖²/σ², σ² the noise variance). `"auto"`: next token for a
            causal language model of transformers, else cross entropy.
        tokens: whether the loss of a text is the `"sum"` or the `"mean"` of those of its tokens.
        draws: of labels from what the module predicts, of which the curvature of a text is made; or of signs, of which that of
            a sample is made of very many outputs, as far as a few of them do not hold it.
    """

    module: str = ""
    params: tuple[str, ...] = option((ALL,), Words(), "What is in the posterior: all, last_layer, or names of modules.")
    loss: str = option(AUTO_LOSS, Choice(LOSSES), "Loss that the module was trained with.")
    tokens: str = option(SUM, Choice(TOKENS_COUNT), "The loss of a text is the sum or the mean of those of its tokens.")
    draws: int = option(DRAWS, Integer(2), "Draws, of which the curvature of texts and of very many classes is made.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Ekfac:
    """One Newton step for every sample that leaves, in the eigenbasis of the Kronecker-factored curvature; of few parameters
    (curvature `"full"`) by the whole GGN.

    Attributes:
        refine: samples of the highest LSI whose steps are then taken by the whole GGN, with conjugate gradients and products
            of it, or `"all"`. None: all, where that takes next to no time; else none.
        tolerance: of their residual, in the metric of the step.
        recipe: by which samples that are verified are trained on from the given weights; None: to the optimum.
    """

    name: ClassVar[str] = "ekfac"

    refine: int | str | None = option(
        None, Integer(0, word=ALL, optional=True), "Samples of the highest LSI whose steps the whole GGN gives, or 'all'."
    )
    tolerance: float = option(1e-3, Number(0.0, beyond=True), "Of their residual.")
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        check_options(self)
        if not isinstance(self.recipe, Recipe | None):
            raise InputError(f"recipe is {self.recipe!r}; expected a lapsi.Recipe, or None.")

    def n_refined(self, n_samples: int, *, cheap: bool) -> int:
        """How many of some samples are refined, all of which would be `cheap` or not."""
        if self.refine is None:
            return n_samples if cheap else 0
        return n_samples if self.refine == ALL else min(int(self.refine), n_samples)


NETWORK_ENGINES: dict[str, type[Ekfac] | type[Retrain]] = {engine.name: engine for engine in (Ekfac, Retrain)}


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How the training data of a module are scored, one object a noun.

    Attributes:
        network: the module.
        objective: what it minimised. `weight_decay="auto"`: where the marginal likelihood is largest.
        engine: how samples leave: `Ekfac`, or `Retrain`, whose training starts from the weights that the module has.
        curvature: structure of the posterior precision.
        execution: where it runs, within which limits, and how far it is checked.
        divergence, order: as in `Settings`.
    """

    network: NetworkSpec = field(default_factory=NetworkSpec)
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    engine: Ekfac | Retrain = field(default_factory=Ekfac)
    curvature: str = option("ekfac", Choice(STRUCTURES, {"kron": "kfac"}), "Structure of the posterior precision.")
    execution: Execution = field(default_factory=Execution)
    divergence: str = divergence_option()
    order: float = order_option()

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "order", required_order(self.divergence, self.order))
        if self.objective.noise_removal == ANEW:
            raise InputError("noise_removal is 'anew', which a network cannot; leave it at 'held'.")
        if self.objective.class_weight is not None:
            raise InputError(
                f"class_weight is {self.objective.class_weight!r}, which the loss of a network has not; give sample_weight."
            )
        retrains = isinstance(self.engine, Retrain)
        if self.objective.weight_decay == 0 and not (retrains and self.objective.prior_precision != MAP):
            raise InputError(
                "weight_decay is 0: the step without a sample has then no bound, nor has the posterior where the prior is that "
                "weight decay. Use a small positive value such as 1e-4, or engine 'retrain' with a number as prior_precision."
            )
        if isinstance(self.engine, Retrain) and not self.engine.recipe.is_random:
            object.__setattr__(self, "engine", replace(self.engine, recipe=replace(self.engine.recipe, seeds=1)))
        if isinstance(self.engine, Retrain) and self.engine.recipe.public_divisor:
            object.__setattr__(self, "objective", replace(self.objective, removal="sum"))
        if retrains and self.objective.weight_decay == AUTO:
            object.__setattr__(self, "objective", replace(self.objective, weight_decay=PAPER_DECAY))

    @property
    def model_in_words(self) -> str:
        """E.g. "ResNet (all parameters)"."""
        params = ", ".join(self.network.params)
        return f"{self.network.module} ({ {ALL: 'all parameters', LAST_LAYER: 'last layer'}.get(params, params) })"

    @property
    def is_open(self) -> bool:
        """Whether the weight decay is still to be chosen."""
        return self.objective.weight_decay == AUTO

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        values = asdict(self)
        values["network"]["params"] = list(self.network.params)
        if not isinstance(self.objective.noise_variance, str):
            values["objective"]["noise_variance"] = list(self.objective.noise_variance)
        values["engine"] = {"name": self.engine.name, **values["engine"]}
        if self.engine.recipe is not None:
            values["engine"]["recipe"]["betas"] = list(self.engine.recipe.betas)
        return values


def network_settings_from_dict(values: dict[str, Any]) -> NetworkSettings:
    """The settings of a run from `NetworkSettings.to_dict`; fields that are not known (of a later version) are left out.

    Raises:
        InputError: when a value is none that a setting can have.
    """
    kind = NETWORK_ENGINES.get(values["engine"].get("name"))
    if kind is None:
        name = values["engine"].get("name")
        raise InputError(f"The engine of the run is {name!r}; expected one of {', '.join(NETWORK_ENGINES)}.")
    return NetworkSettings(
        NetworkSpec(**known_fields(NetworkSpec, values["network"])),
        ObjectiveSpec(**known_fields(ObjectiveSpec, values["objective"])),
        kind(**with_recipe(known_fields(kind, values["engine"]))),
        values["curvature"],
        Execution(**known_fields(Execution, values["execution"])),
        **{name: values[name] for name in ("divergence", "order") if name in values},
    )
