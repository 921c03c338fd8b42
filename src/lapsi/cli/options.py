"""Strings of the command line to objects."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lapsi.data.corruption import Corruption
from lapsi.data.extractors.base import FEATURE_DTYPES, POOLINGS, ExtractorSettings
from lapsi.data.readers.catalog import NAMED
from lapsi.data.readers.columns import Columns
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError
from lapsi.settings.recipe import PRESETS, Recipe
from lapsi.settings.settings import Settings, make_settings

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
PLAIN = ("curvature", "weight_decay", "removal", "standardize", "engine", "activation", "every", "verify", "device", "seed")

Run = Annotated[Path, typer.Argument(help="Run directory written by 'lapsi score'.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing run or file.")]

RAW, CORRUPTION = "Images and texts", "Change the data on purpose first"
SOURCE_HELP = (
    "Features (.npz, .npy, .safetensors, .parquet, .csv, .jsonl), a table of texts or image paths, an image folder with one "
    "subfolder a class, a saved Hugging Face data set, hf:NAME on the hub, or a named data set such as digits or cifar10."
)
Source = Annotated[str | None, typer.Argument(help=SOURCE_HELP)]
Features = Annotated[str | None, typer.Option(help="Array or list column with the features.")]
Prefix = Annotated[str | None, typer.Option("--feature-prefix", help="Tables: all columns whose names start so are features.")]
Labels = Annotated[str | None, typer.Option(help="Array or column with the labels; for .npy the second file.")]
Ids = Annotated[str | None, typer.Option(help="Array or column with unique identifiers.")]
Group = Annotated[str | None, typer.Option(help="Column with contributor, patient or source of each sample; kept.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column with the part of the data set; kept.")]
ReferenceLabels = Annotated[str | None, typer.Option(help="Column with second labels (truth, re-annotation); kept.")]
ClassNames = Annotated[str | None, typer.Option(help="Array with a name for each integer label.")]
KeepColumns = Annotated[str | None, typer.Option("--keep", help="More columns to keep beside the scores, with commas.")]
Split = Annotated[str | None, typer.Option(help="Part to take of a source that has several. Default: train.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the files of a named data set lie.")]
Images = Annotated[str | None, typer.Option(help="Column with image paths or images.", rich_help_panel=RAW)]
Texts = Annotated[str | None, typer.Option(help="Column with texts.", rich_help_panel=RAW)]
Model = Annotated[
    str | None,
    typer.Option(
        help="Frozen extractor: folder or name on the hub. Default: microsoft/resnet-18, bert-base-uncased.",
        rich_help_panel=RAW,
    ),
]
Pooling = Annotated[
    str, typer.Option(metavar="|".join(POOLINGS), help="One vector of all tokens or positions.", rich_help_panel=RAW)
]
Normalize = Annotated[
    bool | None,
    typer.Option(
        "--normalize/--no-normalize", help="Scale features to length 1. Default: as the model says.", rich_help_panel=RAW
    ),
]
MaxTokens = Annotated[int | None, typer.Option(help="Cut longer texts. Default: as the model says.", rich_help_panel=RAW)]
BATCH = "Samples a forward pass of the extractor."
BatchSize = Annotated[int, typer.Option("--batch-size", help=BATCH, rich_help_panel=RAW)]
EmbedBatchSize = Annotated[int, typer.Option("--embed-batch-size", help=BATCH, rich_help_panel=RAW)]
WEIGHTS = "Of the extractor's weights; features are float32."
ModelDtype = Annotated[str, typer.Option("--dtype", metavar="|".join(FEATURE_DTYPES), help=WEIGHTS, rich_help_panel=RAW)]
EmbedDtype = Annotated[str, typer.Option("--embed-dtype", metavar="|".join(FEATURE_DTYPES), help=WEIGHTS, rich_help_panel=RAW)]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of the feature cache. Default: $LAPSI_CACHE, ~/.cache/lapsi.", rich_help_panel=RAW)
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave samples out that cannot be read, and list them.", rich_help_panel=RAW)
]
FlipLabels = Annotated[float, typer.Option(help="Share of labels to flip to another class.", rich_help_panel=CORRUPTION)]
HumanLabels = Annotated[
    str | None, typer.Option(help="Use the labels of this file instead: FILE, or FILE:NAME.", rich_help_panel=CORRUPTION)
]
LoremIpsum = Annotated[
    float, typer.Option(help="Share of texts to replace by lorem ipsum with a random label.", rich_help_panel=CORRUPTION)
]
Noise = Annotated[
    float, typer.Option(help="Gaussian noise on features, in their standard deviations.", rich_help_panel=CORRUPTION)
]
NoiseClasses = Annotated[str | None, typer.Option(help="Only on these classes, with commas.", rich_help_panel=CORRUPTION)]
CorruptionSeed = Annotated[int, typer.Option(help="Seed of all these changes.", rich_help_panel=CORRUPTION)]

Number = TypeVar("Number", int, float)
Options = dict[str, Any]


def to_plain(options: Options) -> Options:
    """The options of a command as plain JSON values."""
    return {name: _plain(value) for name, value in options.items()}


def to_absolute(options: Options) -> Options:
    """The same with the names of files independent of the folder."""
    files = ["indices", "data_dir", "cache", "human_labels"]
    if options["source"] is not None and options["source"] not in NAMED and Path(options["source"]).exists():
        files.append("source")
    if str(options["source"]).lower().endswith(".npy"):
        files += ["labels", "ids", "group", "split_column", "reference_labels"]
    if options["model"] is not None and Path(options["model"]).is_dir():
        files.append("model")
    given = [name for name in files if options.get(name) is not None]
    return options | {name: str(Path(options[name]).absolute()) for name in given}


def to_settings(options: Options) -> Settings:
    """The settings that plain options ask for."""
    return make_settings(
        **{name: options[name] for name in PLAIN},
        prior_precision=_number_or("map", options["prior_precision"], float, "--prior-precision"),
        hidden=_numbers(options["hidden"], int, "--hidden") if options["hidden"] else (),
        recipe=to_recipe(options),
        refine=_number_or("auto", options["refine"], int, "--refine"),
        dtype=None if options["dtype"] == "auto" else options["dtype"],
        memory_limit=None if options["memory_limit"] is None else _bytes(options["memory_limit"]),
    )


def to_recipe(options: Options) -> Recipe | None:
    """The preset with what was given beside it; None where nothing was."""
    given = {field.name: options[field.name] for field in fields(Recipe) if options[field.name] is not None}
    if "betas" in given:
        given["betas"] = _numbers(given["betas"], float, "--betas")
    preset = options["preset"]
    if preset is None and not given:
        return None
    if preset is not None and preset not in PRESETS:
        raise InputError(f"--preset is {preset!r}; expected one of {', '.join(map(repr, PRESETS))}.")
    return replace(PRESETS[preset or "paper"], **given)


def to_columns(options: Options) -> Columns:
    """What stands where in the source."""
    return Columns(
        features=options.get("features"),
        prefix=options.get("feature_prefix"),
        labels=options["labels"],
        ids=options["ids"],
        images=options["images"],
        texts=options["texts"],
        group=options["group"],
        split=options["split_column"],
        reference_labels=options["reference_labels"],
        class_names=options["class_names"],
        keep=_words(options["keep"]),
    )


def to_extractor(options: Options) -> ExtractorSettings:
    """The extractor that plain options ask for."""
    return ExtractorSettings(
        model=options["model"],
        pooling=options["pooling"],
        normalize=options["normalize"],
        max_tokens=options["max_tokens"],
        batch_size=options["embed_batch_size"],
        device=options["device"],
        dtype=options["embed_dtype"],
    )


def to_corruption(options: Options) -> Corruption:
    """What to change on purpose, human labels apart."""
    return Corruption(
        flip_labels=options["flip_labels"],
        lorem_ipsum=options["lorem_ipsum"],
        noise=options["noise"],
        noise_classes=_words(options["noise_classes"]),
        seed=options["corruption_seed"],
    )


def to_spec(options: Options) -> DataSpec:
    """The data that plain options ask for, as they are."""
    same = {name: options[name] for name in ("source", "split", "data_dir", "cache", "skip_bad")}
    return DataSpec(columns=to_columns(options), extractor=to_extractor(options), **same)


def to_changed_spec(options: Options) -> DataSpec:
    """The data that plain options ask for, changed on purpose."""
    return replace(to_spec(options), corruption=to_corruption(options), human_labels=options["human_labels"])


def _words(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _number_or(word: str, text: str, kind: type[Number], option: str) -> str | Number:
    if text == word:
        return text
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{option} is {text!r}; expected '{word}' or a number.") from None


def _numbers(text: str, kind: type[Number], option: str) -> tuple[Number, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} is {text!r}; expected numbers with commas between them, e.g. 64,32.") from None


def _bytes(text: str) -> int:
    digits = text.upper().removesuffix("B").removesuffix("I")
    unit = digits[-1:] if digits[-1:] in UNITS else ""
    try:
        return int(float(digits.removesuffix(unit)) * UNITS[unit])
    except (ValueError, OverflowError):
        raise InputError(f"--memory-limit is {text!r}; expected a size such as 8G, 500M or a number of bytes.") from None
