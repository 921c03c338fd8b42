"""What commands are given, as objects."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lapsi.cli.generated import Options, Part
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.names import HUB_PREFIX, NAMES
from lapsi.data.readers.shard_names import SEPARATOR, holds_features_alone, shards_of
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError
from lapsi.settings.corruption import Corruption
from lapsi.settings.engine import AUTO, ENGINES, Auto, Local, Newton, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.model import PROBE, ModelSpec
from lapsi.settings.network import NETWORK_ENGINES, Ekfac, NetworkSettings, NetworkSpec
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.option import Choice, option
from lapsi.settings.pair_source import PairSource
from lapsi.settings.pairs import PAIR_RECIPE, PairSettings, PairSpec
from lapsi.settings.recipe import PRESETS, RECIPE, Recipe
from lapsi.settings.settings import Settings, make_settings

Run = Annotated[Path, typer.Argument(help="Run directory written by 'lapsi score'.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing run or file.")]

SOURCE_HELP = (
    "Features (.npz, .npy, .safetensors, .pt, .parquet, .feather, .arrow, .csv, .tsv, .csv.gz, .jsonl), shards of them (a "
    "folder, a pattern or several files), a table with columns of any kind or of texts or image paths, an image folder (or "
    ".zip) with one subfolder a class, a saved Hugging Face data set, hf:NAME on the hub, or a named data set such as digits "
    "or cifar10."
)


@dataclass(frozen=True, slots=True)
class NetworkStart:
    """What the settings of a network are made from, before single fields are given; as in `Start`."""

    engine: str = option(
        Ekfac.name,
        Choice(tuple(NETWORK_ENGINES)),
        "ekfac: one step for each sample; retrain: train without each, from the weights that the module has.",
    )
    preset: str | None = option(None, Choice(tuple(PRESETS)), "Where the recipe starts from.", panel=RECIPE)


@dataclass(frozen=True, slots=True)
class Start:
    """What the settings are made from, before single fields are given.

    Attributes:
        engine: by its name.
        preset: the recipe, by its name; None for no recipe where none of its fields is given either.
    """

    engine: str = option(
        AUTO,
        Choice((AUTO, *ENGINES)),
        "newton: closed form; local: the same for many classes; retrain: train without each sample.",
        panel=PROBE,
    )
    preset: str | None = option(None, Choice(tuple(PRESETS)), "Where the recipe starts from.", panel=RECIPE)


NOT_OF_NETWORKS = ("noise_removal", "class_weight")
START, RECIPE_FIELDS = Part(Start), Part(Recipe)
COLUMNS, EXTRACTOR, DATA, CHANGES = Part(Columns), Part(ExtractorSettings), Part(DataSpec), Part(Corruption)
SCORING = (Part(Settings), Part(ObjectiveSpec), Part(ModelSpec), Part(Newton), Part(Local), Part(Retrain), Part(Execution))
NETWORK_PARTS = (
    Part(NetworkSpec),
    Part(NetworkSettings),
    Part(Ekfac),
    Part(ObjectiveSpec, without=NOT_OF_NETWORKS),
    Part(Execution, without=("dtype",)),
)
NETWORK = (Part(NetworkStart), *NETWORK_PARTS, Part(Retrain), RECIPE_FIELDS)
PAIR_PARTS = (
    Part(PairSource),
    Part(PairSpec),
    Part(PairSettings),
    Part(ObjectiveSpec, without=(*NOT_OF_NETWORKS, "noise_variance")),
    Part(Execution),
)
PAIRS = (*PAIR_PARTS, Part(Retrain), RECIPE_FIELDS)
EMBED_COLUMNS = Part(Columns, without=("features", "prefix", "drop"))
EMBED_EXTRACTOR = Part(ExtractorSettings, own_names=True)
EMBED_DATA = Part(DataSpec, without=("human_labels",))
MACHINES = Part(Execution, without=("verify", "dtype", "seed", "memory_limit"))
WORKERS = Part(Execution, without=(*MACHINES.without, "device"))


def to_absolute(options: Options) -> Options:
    """The same with the names of files independent of the folder."""
    files = ["indices", "data_dir", "cache", "human_labels"]
    source = options.get("source")
    shards = None if source is None or source in NAMES or source.startswith(HUB_PREFIX) else shards_of(source)
    if source is not None and source not in NAMES and (shards or Path(source).exists()):
        files.append("source")
    if holds_features_alone(Path(str(shards[0] if shards else source))):
        files += ["labels", "ids", "weights", "group", "split_column", "reference_labels"]
    if options.get("model") is not None and Path(options["model"]).is_dir():
        files.append("model")
    given = [name for name in files if options.get(name) is not None]
    return options | {name: _absolute(options[name]) for name in given}


def _absolute(names: str) -> str:
    """The name of a file, a folder or a pattern, or of several files, independent of the folder."""
    several = [names] if Path(names).exists() else names.split(SEPARATOR)
    return SEPARATOR.join(str(Path(name).absolute()) for name in several)


def one_source(names: list[str] | None) -> str | None:
    """What was named to be scored, several files as one source.

    Raises:
        InputError: when one of several has a comma in its name.
    """
    if not names:
        return None
    odd = [name for name in names if SEPARATOR in name]
    if len(names) > 1 and odd:
        raise InputError(f"{odd[0]!r} is one of {len(names)} files and has a comma in its name; name their folder instead.")
    return SEPARATOR.join(names)


def called(source: str) -> str:
    """A source in a few words: the first file, where it is several."""
    first, *more = [source] if Path(source).exists() else source.split(SEPARATOR)
    return f"{first} and {len(more)} more" if more else first


def to_settings(options: Options) -> Settings:
    """The settings that were asked for."""
    choices = {name: value for part in SCORING for name, value in part.values(options).items()}
    engine, recipe = options.get("engine", AUTO), to_recipe(options)
    if engine == AUTO and recipe is None:  # one of its options says which, be it as it is anyway
        own = {kind: {each.name for each in fields(kind)} - {each.name for each in fields(Auto)} for kind in (Local, Newton)}
        engine = next((kind.name for kind, names in own.items() if names & options.keys()), AUTO)
    return make_settings(engine=engine, recipe=recipe, **choices)


def to_network(options: Options) -> dict[str, Any]:
    """The arguments of `lapsi.score_network` that were asked for.

    Raises:
        InputError: when options of one engine were given with the other.
    """
    spec, structure, steps, objective, execution = (part.values(options) for part in NETWORK_PARTS)
    recipe, every = to_recipe(options), Part(Retrain).values(options)
    asked = options.get("engine", Retrain.name if recipe is not None or every else Ekfac.name)
    for name, given in ((Ekfac.name, steps), (Retrain.name, every)):
        if given and asked != name:
            first = next(iter(given))
            raise InputError(f"{first} was given, but it belongs to engine {name!r}, and the engine is {asked!r}.")
    engine = Ekfac(**steps, recipe=recipe) if asked == Ekfac.name else Retrain(recipe or PRESETS["paper"], **every)
    own = {"engine": engine, "objective": ObjectiveSpec(**objective), "execution": Execution(**execution)}
    return {**spec, **structure, **own}


def to_pairs(options: Options) -> tuple[PairSource, PairSettings]:
    """What is read, and how it is scored, as asked for."""
    source, spec, structure, objective, execution = (part.values(options) for part in PAIR_PARTS)
    recipe = replace(PAIR_RECIPE, **RECIPE_FIELDS.values(options))
    engine = Retrain(recipe, **Part(Retrain).values(options))
    parts: dict[str, Any] = {"objective": ObjectiveSpec(**objective), "engine": engine, "execution": Execution(**execution)}
    return PairSource(**source), PairSettings(PairSpec(**spec), **parts, **structure)


def to_recipe(options: Options) -> Recipe | None:
    """The preset with what was given beside it; None where nothing was."""
    given = RECIPE_FIELDS.values(options)
    preset = options.get("preset")
    if preset is None and not given:
        return None
    name = Choice(tuple(PRESETS)).check("--preset", "paper" if preset is None else preset)
    return replace(PRESETS[str(name)], **given)


def to_changed_spec(options: Options) -> DataSpec:
    """The data to score, changed on purpose."""
    parts = {"columns": COLUMNS.make(options), "extractor": EXTRACTOR.make(options), "corruption": CHANGES.make(options)}
    return DataSpec(source=options["source"], **parts, **DATA.values(options))


def to_embed_spec(options: Options) -> DataSpec:
    """The data to embed."""
    parts = {"columns": EMBED_COLUMNS.make(options), "extractor": EMBED_EXTRACTOR.make(options)}
    return DataSpec(source=options["source"], **parts, **EMBED_DATA.values(options))
