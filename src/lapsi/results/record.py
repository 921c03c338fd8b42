"""run.json: what it holds, the schema that it is checked by, and how older formats are read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from lapsi.results.columns import Column, find_column
from lapsi.results.format_0 import from_format_0
from lapsi.results.provenance import Count, Provenance, Text
from lapsi.results.regularization import Regularization
from lapsi.results.verification import Verification
from lapsi.settings.network import NetworkSettings
from lapsi.settings.pairs import PairSettings
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings

FORMAT = 1
LARGEST = 64 * 2**20  # bytes
DEEPEST = 32
Flag = Annotated[bool, Field(strict=True)]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a run as it was written: its size in bytes, and the BLAKE2b hash (16 bytes) of its content."""

    size: Count
    blake2b: Text


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What run.json holds.

    Attributes:
        provenance: where the scores come from.
        classes: what the model predicts: the label values (strings, integers or booleans), labels, or names of numbers.
        columns: of scores.parquet, by name, in their order.
        files: the files of the run beside run.json, by name; None in format 0, which did not list them.
    """

    provenance: Provenance
    classes: list[Any]
    columns: dict[str, Column]
    files: dict[str, StoredFile] | None

    def described(self) -> tuple[Column, ...]:
        """The columns whose meaning lapsi does not know itself, or that mean something else here than in the registry."""
        return tuple(column for name, column in self.columns.items() if not column.means(find_column(name)))

    def to_json(self) -> str:
        """The text of run.json."""
        record = {
            "format": FORMAT,
            **asdict(self.provenance),
            "classes": self.classes,
            "columns": {name: _without(asdict(column), "name", "optional") for name, column in self.columns.items()},
            "files": {name: asdict(file) for name, file in (self.files or {}).items()},
        }
        return json.dumps(record, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class _Settings:
    """The parts of the settings; each is checked by its own rules."""

    objective: dict[str, Any]
    engine: dict[str, Any]
    curvature: Text
    execution: dict[str, Any]
    model: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Data:
    """What opened the data; its parts are checked when they are opened again."""

    source: Text
    columns: dict[str, Any] = field(default_factory=dict)
    split: Text | None = None
    data_dir: Text | None = None
    extractor: dict[str, Any] = field(default_factory=dict)
    corruption: dict[str, Any] = field(default_factory=dict)
    cache: Text | None = None
    skip_bad: Flag = False
    shards: list[Text] = field(default_factory=list)
    pairs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside the provenance."""

    classes: Annotated[list[Any], Field(min_length=1)]
    columns: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    files: dict[str, StoredFile]


@cache
def _schema(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_record(path: Path) -> RunRecord:
    """What a run.json of this format or an older one holds. Fields it does not know are left out.

    Raises:
        ValueError, OSError: when it is damaged, saying where.
    """
    raw = read_json(path)
    number = raw.get("format", 0)
    if type(number) is not int or not 0 <= number <= FORMAT:
        raise ValueError(f"run.json has the format {number!r}; this version of lapsi reads up to {FORMAT}")
    raw = from_format_0(raw) if number == 0 else raw
    beside: _Beside = _require(_Beside, raw)
    columns = _require(dict[str, Column], {name: {**each, "name": name} for name, each in beside.columns.items()}, "columns")
    provenance: Provenance = _require(Provenance, raw)
    _require(_Settings, provenance.settings, "settings")
    _require_chosen(stored_settings(provenance.settings))
    if provenance.data:
        _require(_Data, provenance.data, "data")
    if provenance.verification is not None:
        _require_told(_require(Verification, provenance.verification, "verification"))
    if provenance.regularization is not None:
        _require(Regularization, provenance.regularization, "regularization")
    _require_classes(beside.classes, provenance)
    return RunRecord(provenance, beside.classes, columns, beside.files if number > 0 else None)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size and depth that holds no name twice.

    Raises:
        ValueError, OSError: when the file holds anything else.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path.name} has {size:,} bytes; expected at most {LARGEST:,}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds {type(value).__name__}; expected an object")
    if _depth(value) > DEEPEST:
        raise ValueError(f"{path.name} is nested deeper than {DEEPEST} levels")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return values


def _depth(value: Any) -> int:
    """Levels of lists and objects."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [each for part in inner for each in (part.values() if isinstance(part, dict) else part)]
        depth += bool(inner)
    return depth


def _require(kind: Any, value: Any, place: str = "") -> Any:
    """The value as its type; the first thing that is wrong in one line."""
    try:
        return _schema(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(part) for part in ((place,) if place else ()) + first["loc"]]
        where = ".".join(part if part.isprintable() else repr(part) for part in parts)
        shown = repr(first["input"])
        got = f", not {shown}" if first["type"] != "missing" and len(shown) <= 60 else ""
        raise ValueError(f"{where} of run.json: {first['msg']}{got}") from None


def _require_chosen(settings: Settings | NetworkSettings | PairSettings) -> None:
    if settings.is_open:
        raise ValueError("settings of run.json leave weight_decay or standardize open ('auto'); expected what was chosen")


def _require_told(verification: Verification) -> None:
    """Either errors or a reason why there are none; and all correlations or none."""
    errors = (verification.max_relative_error, verification.median_relative_error)
    correlations = (verification.spearman, verification.pearson, verification.median_ratio)
    if not verification.failure and None in errors:
        raise ValueError("verification of run.json has neither max_relative_error and median_relative_error nor a failure")
    if None in correlations and any(value is not None for value in correlations):
        raise ValueError("verification of run.json has some of spearman, pearson and median_ratio; expected all or none")


def _require_classes(classes: list[Any], provenance: Provenance) -> None:
    kinds, n_classes = {type(value) for value in classes}, provenance.n_classes
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        raise ValueError("classes of run.json are of several types or none of strings, integers and booleans")
    if len(set(classes)) < len(classes):
        raise ValueError("one of the classes of run.json stands there twice")
    if len(classes) != n_classes:
        raise ValueError(f"run.json names {len(classes)} classes, but n_classes is {n_classes}")


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
