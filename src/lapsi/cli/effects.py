"""Options that were typed and would have no effect are refused; defaults never are."""

from __future__ import annotations

from lapsi.cli.options import Options
from lapsi.errors import InputError
from lapsi.settings.engine import Retrain
from lapsi.settings.recipe import require_use
from lapsi.settings.settings import Settings

OF_THE_EXTRACTOR = ("model", "pooling", "normalize", "max_tokens", "embed_batch_size", "embed_dtype", "cache", "skip_bad")
CHANGES = ("flip_labels", "human_labels", "lorem_ipsum", "noise")


def require_effect(given: set[str], options: Options, settings: Settings) -> None:
    """Refuses what the settings leave without use.

    Args:
        given: names of the options that were typed.
        options: all of them.
        settings: that they ask for.

    Raises:
        InputError: naming the first.
    """
    recipe = settings.engine.recipe if isinstance(settings.engine, Retrain) else None
    if recipe is not None:
        require_use(recipe, given)
    if "activation" in given and not settings.model.hidden:
        raise InputError(
            f"--activation is {settings.model.activation!r} but no layer is hidden; leave it out, or give some with --hidden."
        )
    if "refine" in given and recipe is not None:
        raise InputError("--refine belongs to engine 'newton', and this is 'retrain'; leave it out.")
    if "removal" in given and settings.objective.removal == "mean" and recipe is not None and recipe.public_divisor:
        raise InputError(
            "--removal is 'mean' but Poisson batches and clipped gradients keep the total weight decay fixed; leave it out, or "
            "give 'sum'."
        )
    if "corruption_seed" in given and not any(options[name] for name in CHANGES):
        raise InputError("--corruption-seed was given but nothing is changed on purpose; say what, e.g. --flip-labels 0.1.")


def require_extractor_effect(given: set[str], extracts: bool) -> None:
    """Refuses options of the extractor for a source that holds features.

    Raises:
        InputError: naming the first.
    """
    idle = [name for name in OF_THE_EXTRACTOR if name in given]
    if idle and not extracts:
        raise InputError(
            f"--{idle[0].replace('_', '-')} does not apply: the source holds features, which go to the probe as they are; "
            "leave it out."
        )
