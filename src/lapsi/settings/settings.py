"""Every choice that shapes a run, in one frozen object that is stored with the scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lapsi.errors import InputError
from lapsi.settings.recipe import Recipe
from lapsi.settings.validation import require_choice, require_integer, require_number

CURVATURES = ("diag", "kfac", "full")
ALIASES = {"kron": "kfac"}
ENGINES = ("auto", "newton", "retrain")
ACTIVATIONS = ("relu", "gelu", "tanh")
REMOVALS = ("mean", "sum")
DTYPES = ("float32", "float64")
LARGEST_SEED = 2**62


@dataclass(frozen=True, slots=True)
class Settings:
    """How samples are scored. Defaults follow the paper (Appendix N) where it names a value.

    Attributes:
        curvature: structure of the posterior precision: `"diag"`, `"kfac"` (alias `"kron"`) or `"full"`.
        weight_decay: w of the training objective (1/N) Σ loss + (w/2)·‖params‖²; biases included. 0 only with `"retrain"`
            and a number as `prior_precision`.
        prior_precision: `"map"` reads the weight decay as the prior (N·w with the sample, what `removal` leaves
            without it); a number is used for both posteriors (`1.0` reproduces the authors' code).
        removal: what stays fixed when a sample leaves. `"mean"`: w in the *mean* loss, as a retraining with the same
            optimiser settings does. `"sum"`: the total regularisation N·w.
        standardize: scale every feature to mean 0, standard deviation 1 first (constant features become 0).
        engine: `"newton"`: closed-form leave-one-out Newton step of the converged linear probe; `"retrain"`: trains the
            probe anew without each sample, by `recipe`. `"auto"`: `"newton"`, unless `hidden`, `recipe` or `every` is given.
        hidden: units of the hidden layers of the probe; none: the linear probe. Hidden layers need `"retrain"`.
        activation: of the hidden layers: `"relu"`, `"gelu"` or `"tanh"`.
        recipe: how `"retrain"` trains: a `Recipe`; None means the paper's.
        every: `"retrain"` also keeps LSI after every so many epochs.
        refine: what follows the closed form. `"auto"`: on small data every sample is converged to its leave-one-out
            optimum; else the samples whose logits move most get the second-order term of their nearest neighbours, as
            many as a fifteenth of the run's cost buys. A number: so many chord-Newton steps for every sample, each
            8·N·D·C flop, and an exact pass for the change of the curvature. 0: the closed form alone. `"newton"` only.
        verify: number of samples checked; 0 turns the check off. `"newton"`: against converged leave-one-out optima;
            `"retrain"`: against one model each that is trained alone in float64 (2, or a twentieth of the samples if more).
        device: torch device; None means the CPU.
        dtype: of the large matrix products, `"float32"` or `"float64"`. None takes float32, with `"newton"` where the
            conditioning allows. What is factorised or subtracted is float64 always.
        seed: of the draw of verified samples; with `"retrain"` also of initial weights, batches and noise.
        memory_limit: bytes that the run may use at its peak; None means 80 % of what is available.
    """

    curvature: str = "diag"
    weight_decay: float = 0.01
    prior_precision: float | str = "map"
    removal: str = "mean"
    standardize: bool = True
    engine: str = "auto"
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    recipe: Recipe | None = None
    every: int | None = None
    refine: int | str = "auto"
    verify: int = 16
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "curvature", ALIASES.get(self.curvature, self.curvature))
        require_choice("curvature", self.curvature, CURVATURES)
        require_choice("engine", self.engine, ENGINES)
        require_choice("removal", self.removal, REMOVALS)
        if self.dtype is not None:
            require_choice("dtype", self.dtype, DTYPES)
        if not isinstance(self.hidden, tuple | list):
            raise InputError(f"hidden is {self.hidden!r}; expected the units of each hidden layer, e.g. (64,) or (64, 32).")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        require_choice("activation", self.activation, ACTIVATIONS)
        for units in self.hidden:
            require_integer("hidden", units, 1)
        if self.every is not None:
            require_integer("every", self.every, 1)
        if self.prior_precision != "map":
            require_number("prior_precision", self.prior_precision, 0, beyond=True, also="'map' or ")
        if self.refine != "auto":
            require_integer("refine", self.refine, also=" or 'auto'")
        require_integer("verify", self.verify)
        require_integer("seed", self.seed)
        if self.seed >= LARGEST_SEED:
            raise InputError(f"seed is {self.seed}; expected less than 2^62.")
        if self.device is not None:
            object.__setattr__(self, "device", str(self.device))
        if self.memory_limit is not None:
            require_number("memory_limit", self.memory_limit, 0, beyond=True, also="None or ")
        self._choose_engine()
        _require_weight_decay(self.weight_decay, self.prior_precision, self.engine)

    def _choose_engine(self) -> None:
        """Turns "auto" into the engine, gives "retrain" its recipe, and refuses what cannot be combined."""
        retrains = {"hidden": self.hidden, "recipe": self.recipe, "every": self.every}
        asked = [name for name, value in retrains.items() if value not in ((), None)]
        if self.engine == "newton" and asked:
            raise InputError(
                f"engine is 'newton' but {' and '.join(asked)} was given: the closed form is that of the converged linear "
                "probe. Use engine='retrain'."
            )
        if self.engine == "auto":
            object.__setattr__(self, "engine", "retrain" if asked else "newton")
        if self.engine == "newton":
            return
        if self.refine != "auto":
            raise InputError(f"refine is {self.refine!r} but belongs to engine 'newton'; leave it at 'auto'.")
        recipe = Recipe() if self.recipe is None else self.recipe
        if not isinstance(recipe, Recipe):
            raise InputError(f"recipe is {recipe!r}; expected a lapsi.Recipe.")
        if self.every is not None and self.every > max(1, recipe.epochs):
            raise InputError(f"every is {self.every} but training has {recipe.epochs} epochs; expected at most that.")
        object.__setattr__(self, "recipe", recipe)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        values = {**asdict(self), "hidden": list(self.hidden)}
        if self.recipe is not None:
            values["recipe"] = {**asdict(self.recipe), "betas": list(self.recipe.betas)}
        return values


def _require_weight_decay(value: object, prior_precision: float | str, engine: str) -> None:
    if value == 0 and not isinstance(value, bool):
        if engine == "retrain" and prior_precision != "map":
            return
        raise InputError(
            "weight_decay is 0: without regularisation the loss of separable data has no finite optimum, so there is "
            "no posterior to compare. Use a small positive value such as 1e-4 (default: 0.01), or engine 'retrain' with a "
            "number as prior_precision."
        )
    require_number("weight_decay", value, 0, beyond=True)
