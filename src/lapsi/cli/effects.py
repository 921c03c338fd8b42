"""What was typed is checked before anything is loaded: options without effect are refused, defaults never are."""

from __future__ import annotations

from dataclasses import fields

from lapsi.cli.generated import Options
from lapsi.cli.options import to_changed_spec, to_settings
from lapsi.data.readers.names import require_source
from lapsi.errors import InputError
from lapsi.settings.engine import AUTO, Local, Newton, Retrain
from lapsi.settings.recipe import require_use
from lapsi.settings.settings import Settings

OF_THE_EXTRACTOR = ("model", "pooling", "normalize", "max_tokens", "embed_batch_size", "embed_dtype", "cache", "skip_bad")
CHANGES = ("flip_labels", "human_labels", "lorem_ipsum", "noise")


def require_sense(options: Options, given: set[str]) -> Settings:
    """The settings that the options of `score` ask for, if these can be used.

    Args:
        options: all of them.
        given: names of those that were typed.

    Raises:
        InputError: saying what is missing, wrong or without effect.
    """
    if options.get("source") is None:
        raise InputError("No source was named; say what to score, or which run to go on with (--resume RUN).")
    settings = to_settings(options)
    require_effect(given, options, settings)
    require_source(to_changed_spec(options).source)
    return settings


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
    held = {each.name for each in fields(settings.engine)}
    for kind in (Newton, Local):
        for name in (each.name for each in fields(kind)):
            if name in given and name not in held:
                raise InputError(
                    f"--{name} belongs to engine {kind.name!r}, and this is {settings.engine.name!r}; leave it out."
                )
    if "tolerance" in given and isinstance(settings.engine, Newton) and settings.engine.refine != AUTO:
        raise InputError(f"--tolerance belongs to --refine auto, and this is {settings.engine.refine}; leave one of them out.")
    if "removal" in given and options["removal"] == "mean" and recipe is not None and recipe.public_divisor:
        raise InputError(
            "--removal is 'mean' but Poisson batches and clipped gradients keep the total weight decay fixed; leave it out, or "
            "give 'sum'."
        )
    if "corruption_seed" in given and not any(options.get(name) for name in CHANGES):
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
