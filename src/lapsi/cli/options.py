"""Strings of the command line to objects."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lapsi.errors import InputError
from lapsi.io.columns import Columns
from lapsi.recipe import PRESETS, Recipe
from lapsi.settings import Settings

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
PLAIN = ("curvature", "weight_decay", "removal", "standardize", "engine", "activation", "every", "verify", "device", "seed")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing run or file.")]

Number = TypeVar("Number", int, float)
Options = dict[str, Any]


def to_plain(options: Options) -> Options:
    """The options of a command as plain JSON values."""
    return {name: _plain(value) for name, value in options.items()}


def to_absolute(options: Options) -> Options:
    """The same with the names of files independent of the folder."""
    files = ["source", "indices"]
    if str(options["source"]).lower().endswith(".npy"):
        files += ["labels", "ids"]
    return options | {name: str(Path(options[name]).absolute()) for name in files if options[name] is not None}


def to_settings(options: Options) -> Settings:
    """The settings that plain options ask for."""
    return Settings(
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
    """Where features, labels and ids stand in the source."""
    return Columns(options["features"], options["feature_prefix"], options["labels"], options["ids"])


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
