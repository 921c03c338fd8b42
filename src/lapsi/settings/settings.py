"""Every choice that shapes a run, in one frozen object that is stored with the scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from lapsi.errors import InputError, meant
from lapsi.settings.divergence import divergence_option, order_option, required_order
from lapsi.settings.engine import AUTO, ENGINES, Auto, EngineSpec, Local, Newton, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.model import EACH, ModelSpec
from lapsi.settings.objective import ANEW, MAP, PAPER_DECAY, ObjectiveSpec
from lapsi.settings.option import Choice, check_options, known_fields, option
from lapsi.settings.recipe import with_recipe

CURVATURES = ("diag", "kfac", "full")
DIVERGENCE = ("divergence", "order")  # fields of `Settings` itself
PARTS: dict[str, type] = {"model": ModelSpec, "objective": ObjectiveSpec, "execution": Execution}


@dataclass(frozen=True, slots=True)
class Settings:
    """How samples are scored, one object a noun.

    Attributes:
        model: the probe.
        objective: what it minimises.
        engine: how samples leave.
        curvature: structure of the posterior precision: `"diag"`, `"kfac"` (alias `"kron"`) or `"full"`.
        execution: where it runs, within which limits, and how far it is checked.
        divergence: of the two posteriors: `"kl"` or `"renyi"`.
        order: of the Rényi divergence; of order 1 it is KL.
    """

    model: ModelSpec = field(default_factory=ModelSpec)
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    engine: EngineSpec = field(default_factory=Auto)
    curvature: str = option(
        "diag", Choice(CURVATURES, {"kron": "kfac"}), "Structure of the posterior precision (kron is kfac)."
    )
    execution: Execution = field(default_factory=Execution)
    divergence: str = divergence_option()
    order: float = order_option()

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "order", required_order(self.divergence, self.order))
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a lapsi.{kind.__name__}.")
        if not isinstance(self.engine, EngineSpec):
            raise InputError(f"engine is {self.engine!r}; expected {_engine_names()}.")
        if isinstance(self.engine, Auto | Newton | Local) and self.model.hidden:
            raise InputError(
                f"engine is {self.engine.name!r} but hidden was given: the closed form is that of the converged linear "
                "probe. Use engine='retrain'."
            )
        retrains = isinstance(self.engine, Retrain)
        if retrains and self.curvature == "kfac" and self.order != 1:
            raise InputError(
                "divergence is 'renyi' but curvature is 'kfac' of engine 'retrain', both of whose factors change: a mixture "
                "is no Kronecker product; use curvature 'diag' or 'full', engine 'newton', or KL."
            )
        if isinstance(self.engine, Retrain):
            self._as_in_the_paper(self.engine)
        if isinstance(self.engine, Local):
            if self.curvature == "full":
                raise InputError("curvature is 'full'; engine 'local' offers 'diag' and 'kfac'.")
            if self.execution.dtype == "float64":
                raise InputError(
                    "dtype is 'float64', but engine 'local' takes its products in float32; leave it out, or use engine "
                    "'newton'."
                )
        if not isinstance(self.engine, Auto | Newton) and self.objective.noise_removal == ANEW:
            raise InputError(
                f"noise_removal is 'anew', which engine {self.engine.name!r} cannot; leave it at 'held', or use engine "
                "'newton'."
            )
        if self.objective.weight_decay == 0 and not (retrains and self.objective.prior_precision != MAP):
            raise InputError(
                "weight_decay is 0: without regularisation the loss of separable data has no finite optimum, so there is "
                "no posterior to compare. Use a small positive value such as 1e-4, or engine 'retrain' with a "
                "number as prior_precision."
            )

    @property
    def model_in_words(self) -> str:
        """E.g. "linear probe" or "mlp 64, 32"."""
        hidden = self.model.hidden
        return f"mlp {', '.join(map(str, hidden))}" if hidden else "linear probe"

    @property
    def is_open(self) -> bool:
        """Whether weight decay or scaling is still to be chosen, by the data."""
        return AUTO in (self.objective.weight_decay, self.model.standardize)

    def _as_in_the_paper(self, engine: Retrain) -> None:
        """Settles what the closed form would choose, and the removal that a public divisor implies."""
        self._chosen_without_search()
        if engine.recipe.public_divisor:
            object.__setattr__(self, "objective", replace(self.objective, removal="sum"))

    def _chosen_without_search(self) -> None:
        """The paper's weight decay and scaling where those that the closed form would choose are not looked for."""
        if self.objective.weight_decay == AUTO:
            object.__setattr__(self, "objective", replace(self.objective, weight_decay=PAPER_DECAY))
        if self.model.standardize == AUTO:
            object.__setattr__(self, "model", replace(self.model, standardize=EACH))

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        values = asdict(self)
        values["model"]["hidden"] = list(self.model.hidden)
        if not isinstance(self.objective.noise_variance, str):
            values["objective"]["noise_variance"] = list(self.objective.noise_variance)
        values["engine"] = {"name": self.engine.name, **values["engine"]}
        if isinstance(self.engine, Retrain):
            values["engine"]["recipe"]["betas"] = list(self.engine.recipe.betas)
        return values


def make_settings(engine: str | EngineSpec = AUTO, curvature: str = "diag", **choices: Any) -> Settings:
    """Settings from parts (`model`, `objective`, `execution`) and from fields of the parts by their own names.

    `engine` "auto" is `Auto`, unless hidden layers, or options of another are asked for.

    Raises:
        InputError: for a name that no part has, a field beside the part that holds it, or what `Settings` refuses.
    """
    parts = {name: choices.pop(name) for name in PARTS if choices.get(name) is not None}
    choices = {name: value for name, value in choices.items() if name not in PARTS}
    made: dict[str, Any] = {}
    for name, kind in PARTS.items():
        own = {each.name: choices.pop(each.name) for each in fields(kind) if each.name in choices}
        made[name] = _with_fields(parts.get(name), name, kind, own)
    spec = _engine(engine, made["model"], choices)
    told = {name: choices.pop(name) for name in DIVERGENCE if name in choices}
    if choices:
        asked, names = next(iter(choices)), ["engine", "curvature", *PARTS, *setting_names()]
        raise InputError(f"There is no setting {asked!r}; the settings are {', '.join(names)}.{meant(asked, names)}")
    return Settings(engine=spec, curvature=curvature, **told, **made)


def settings_from_dict(values: dict[str, Any]) -> Settings:
    """The settings of a run from `Settings.to_dict`; fields that are not known (of a later version) are left out.

    Raises:
        InputError: when a value is none that a setting can have.
    """

    engine = dict(values["engine"])
    kind = ({AUTO: Auto} | ENGINES).get(engine.get("name", ""))
    if kind is None:
        raise InputError(f"The engine of the run is {engine.get('name')!r}; expected one of {', '.join(ENGINES)}.")
    parts = {name: part(**known_fields(part, values[name])) for name, part in PARTS.items()}
    told = {name: values[name] for name in DIVERGENCE if name in values}  # which runs of earlier versions do not name
    return Settings(engine=kind(**with_recipe(known_fields(kind, engine))), curvature=values["curvature"], **told, **parts)


def setting_names() -> list[str]:
    """The short names that `make_settings` takes beside the parts."""
    kinds = (*PARTS.values(), Auto, *ENGINES.values())
    return list(dict.fromkeys([*(each.name for kind in kinds for each in fields(kind)), *DIVERGENCE]))


def _with_fields(part: Any, name: str, kind: type, own: dict[str, Any]) -> Any:
    """A part with some of its fields given by their own names."""
    if part is None:
        return kind(**own)
    if not isinstance(part, kind):
        raise InputError(f"{name} is {part!r}; expected a lapsi.{kind.__name__}.")
    if own:
        raise InputError(f"{next(iter(own))} was given beside {name}, which holds it; put it into lapsi.{kind.__name__}(…).")
    return part


def _engine(engine: str | EngineSpec, model: ModelSpec, choices: dict[str, Any]) -> EngineSpec:
    """The engine that is asked for by name or as an object; takes its options out of `choices`."""
    own = {kind: _own_options(kind, choices) for kind in (Auto, *ENGINES.values())}
    for name in {each.name for kind in own for each in fields(kind)}:
        choices.pop(name, None)
    if isinstance(engine, EngineSpec):
        for kind, given in own.items():
            for taken in given:
                holds = ", which holds it" if isinstance(engine, kind) else f"={type(engine).__name__}(…)"
                raise InputError(f"{taken} was given beside engine{holds}; put it into engine=lapsi.{kind.__name__}(…).")
        return engine
    if engine not in (AUTO, *ENGINES):
        raise InputError(f"engine is {engine!r}; expected {_engine_names()}.")
    if engine == AUTO:
        asked = next((kind.name for kind in (Retrain, Local, Newton) if own[kind].keys() - own[Auto]), AUTO)
        engine = Retrain.name if model.hidden else asked
    chosen = Auto if engine == AUTO else ENGINES[engine]
    if chosen is not Retrain and own[Retrain]:
        raise InputError(
            f"engine is {engine!r} but {' and '.join(own[Retrain])} was given: the closed form is that of the converged linear "
            "probe. Use engine='retrain'."
        )
    for kind in ENGINES.values():
        for name in own[kind].keys() - own[chosen]:
            default = next(each.default for each in fields(kind) if each.name == name)
            raise InputError(f"{name} is {own[kind][name]!r} but belongs to engine {kind.name!r}; leave it at {default!r}.")
    return chosen(**own[chosen])


def _own_options(kind: type, choices: dict[str, Any]) -> dict[str, Any]:
    """The options of an engine that were given and are not what they are anyway."""
    given = {each.name: (choices.get(each.name), each.default) for each in fields(kind)}
    return {name: value for name, (value, default) in given.items() if value is not None and value != default}


def _engine_names() -> str:
    """What an engine can be asked for by."""
    names = ", ".join(map(repr, (AUTO, *ENGINES)))
    return f"{names}, or {', '.join(f'lapsi.{kind.__name__}(…)' for kind in ENGINES.values())}"
