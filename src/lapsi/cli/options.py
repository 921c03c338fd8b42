"""What commands are given, as objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.generated import Options, Part
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.names import NAMES
from lapsi.data.spec import DataSpec
from lapsi.settings.corruption import Corruption
from lapsi.settings.engine import AUTO, ENGINES, Local, Newton, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.model import PROBE, ModelSpec
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.option import Choice, option
from lapsi.settings.recipe import PRESETS, RECIPE, Recipe
from lapsi.settings.settings import Settings, make_settings

Run = Annotated[Path, typer.Argument(help="Run directory written by 'lapsi score'.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing run or file.")]

SOURCE_HELP = (
    "Features (.npz, .npy, .safetensors, .parquet, .csv, .jsonl), a table of texts or image paths, an image folder with one "
    "subfolder a class, a saved Hugging Face data set, hf:NAME on the hub, or a named data set such as digits or cifar10."
)


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


START, RECIPE_FIELDS = Part(Start), Part(Recipe)
COLUMNS, EXTRACTOR, DATA, CHANGES = Part(Columns), Part(ExtractorSettings), Part(DataSpec), Part(Corruption)
SCORING = (Part(Settings), Part(ObjectiveSpec), Part(ModelSpec), Part(Newton), Part(Local), Part(Retrain), Part(Execution))
EMBED_COLUMNS = Part(Columns, without=("features", "prefix"))
EMBED_EXTRACTOR = Part(ExtractorSettings, own_names=True)
EMBED_DATA = Part(DataSpec, without=("human_labels",))
MACHINES = Part(Execution, without=("verify", "dtype", "seed", "memory_limit"))


def to_absolute(options: Options) -> Options:
    """The same with the names of files independent of the folder."""
    files = ["indices", "data_dir", "cache", "human_labels"]
    if options.get("source") is not None and options["source"] not in NAMES and Path(options["source"]).exists():
        files.append("source")
    if str(options.get("source")).lower().endswith(".npy"):
        files += ["labels", "ids", "group", "split_column", "reference_labels"]
    if options.get("model") is not None and Path(options["model"]).is_dir():
        files.append("model")
    given = [name for name in files if options.get(name) is not None]
    return options | {name: str(Path(options[name]).absolute()) for name in given}


def to_settings(options: Options) -> Settings:
    """The settings that were asked for."""
    choices = {name: value for part in SCORING for name, value in part.values(options).items()}
    return make_settings(engine=options.get("engine", AUTO), recipe=to_recipe(options), **choices)


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
