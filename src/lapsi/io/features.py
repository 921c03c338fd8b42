"""Feature files: .npz, .npy pairs, .safetensors, .parquet and .csv."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from safetensors import SafetensorError, safe_open

from lapsi.dataset import Dataset, make_dataset
from lapsi.errors import InputError

FEATURE_NAMES = ("features", "X", "x", "embeddings", "features_train", "X_train")
LABEL_NAMES = ("labels", "label", "y", "target", "labels_train", "y_train")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names inside a file; None takes a usual name that the file has.

    Attributes:
        features: array or list column with the features.
        prefix: tables only: every numeric column whose name starts so is a feature.
        labels: array or column with the labels; for `.npy`, the path of the second file.
        ids: array or column with the identifiers.
    """

    features: str | None = None
    prefix: str | None = None
    labels: str | None = None
    ids: str | None = None


def read_dataset(path: Path, columns: Columns) -> Dataset:
    """The labelled features in a file, validated.

    Raises:
        InputError: for a missing or unreadable file, an unknown kind, a missing name (naming those present) and
            everything that `make_dataset` refuses.
    """
    if not path.is_file():
        raise InputError(
            f"{path} {'is a directory' if path.is_dir() else 'does not exist'}; expected a file: {', '.join(READERS)}."
        )
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path.name} is a file of kind {path.suffix or '(none)'!r}; expected {', '.join(READERS)}.")
    if columns.prefix is not None and columns.features is not None:
        raise InputError("Both a features column and a feature prefix were named; name one of them.")
    try:
        features, labels, ids = reader(path, columns)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, EOFError, KeyError, BadZipFile, pa.ArrowException, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as {path.suffix} ({error}); is the file whole and of this kind?") from error
    return make_dataset(features, labels, ids=ids, source=str(path))


def _read_npz(path: Path, columns: Columns) -> tuple[Any, Any, Any]:
    _refuse_prefix(columns, path)
    with np.load(path, allow_pickle=False) as archive:
        return _pick_arrays(archive.files, archive.__getitem__, columns, path)


def _read_safetensors(path: Path, columns: Columns) -> tuple[Any, Any, Any]:
    _refuse_prefix(columns, path)
    with safe_open(path, framework="pt") as archive:
        return _pick_arrays(list(archive.keys()), archive.get_tensor, columns, path)


def _pick_arrays(names: list[str], load: Callable[[str], Any], columns: Columns, path: Path) -> tuple[Any, Any, Any]:
    features = _choose(columns.features, FEATURE_NAMES, names, "features", path)
    labels = _choose(columns.labels, LABEL_NAMES, names, "labels", path)
    ids = None if columns.ids is None else load(_choose(columns.ids, (), names, "ids", path))
    return load(features), load(labels), ids


def _read_npy(path: Path, columns: Columns) -> tuple[Any, Any, Any]:
    _refuse_prefix(columns, path)
    if columns.labels is None:
        raise InputError(f"{path.name} holds one array, the features; name a second .npy file with --labels.")
    if columns.features is not None:
        raise InputError(f"{path.name} holds one array without a name, so --features does not apply to it.")
    arrays = [np.load(path, allow_pickle=False)]
    for name in (columns.labels, columns.ids):
        if name is not None and not Path(name).is_file():
            raise InputError(f"{name} does not exist; expected a .npy file with one value for each row of {path.name}.")
        arrays.append(None if name is None else np.load(name, allow_pickle=False))
    return arrays[0], arrays[1], arrays[2]


def _read_parquet(path: Path, columns: Columns) -> tuple[Any, Any, Any]:
    names = list(pa.parquet.read_schema(path).names)
    return _pick_columns(names, lambda wanted: pa.parquet.read_table(path, columns=wanted), columns, path)


def _read_csv(path: Path, columns: Columns) -> tuple[Any, Any, Any]:
    table = pa.csv.read_csv(path)
    return _pick_columns(table.column_names, table.select, columns, path)


def _pick_columns(
    names: list[str], load: Callable[[list[str]], pa.Table], columns: Columns, path: Path
) -> tuple[Any, Any, Any]:
    labels = _choose(columns.labels, LABEL_NAMES, names, "labels", path)
    ids = None if columns.ids is None else _choose(columns.ids, (), names, "ids", path)
    if columns.prefix is not None:
        taken = [name for name in names if name.startswith(columns.prefix) and name not in (labels, ids)]
        if not taken:
            raise InputError(f"{path.name} has no column that starts with {columns.prefix!r}; it has {_listed(names)}.")
        taken.sort(key=_natural)
    else:
        taken = [_choose(columns.features, FEATURE_NAMES, names, "features", path, "; wide tables: --feature-prefix")]
    table = load([*taken, labels, *([] if ids is None else [ids])])
    return _feature_matrix(table, taken, path), _values(table[labels]), None if ids is None else _values(table[ids])


def _feature_matrix(table: pa.Table, names: list[str], path: Path) -> np.ndarray:
    first = table[names[0]]
    if len(names) == 1 and (
        pa.types.is_list(first.type) or pa.types.is_large_list(first.type) or pa.types.is_fixed_size_list(first.type)
    ):
        return _stack_lists(first, names[0], path)
    wrong = [name for name in names if not (pa.types.is_integer(table[name].type) or pa.types.is_floating(table[name].type))]
    if wrong:
        raise InputError(
            f"Column {wrong[0]!r} of {path.name} holds {table[wrong[0]].type}; expected numbers or lists of numbers."
        )
    matrix = np.empty((table.num_rows, len(names)))
    for position, name in enumerate(names):
        matrix[:, position] = table[name].to_numpy(zero_copy_only=False)
    return matrix


def _stack_lists(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    lengths = {None if value is None else len(value) for value in column.to_numpy(zero_copy_only=False)}
    if len(lengths) > 1 or None in lengths:
        shown = ", ".join(map(str, sorted(lengths, key=str)[:5]))
        raise InputError(f"The lists in column {name!r} of {path.name} differ in length ({shown}); expected one length.")
    return np.stack(column.to_numpy(zero_copy_only=False)) if len(column) else np.empty((0, 1))


def _values(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.to_pandas().to_numpy()


def _choose(asked: str | None, usual: Iterable[str], names: list[str], what: str, path: Path, more: str = "") -> str:
    if asked is not None:
        if asked not in names:
            raise InputError(f"{path.name} has no {what} named {asked!r}; it has {_listed(names)}.")
        return asked
    found = [name for name in usual if name in names]
    if not found:
        raise InputError(f"{path.name}: which holds the {what}? Name it with --{what}{more}; it has {_listed(names)}.")
    return found[0]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 12 else shown or "nothing"


def _refuse_prefix(columns: Columns, path: Path) -> None:
    if columns.prefix is not None:
        raise InputError(f"--feature-prefix is for tables; {path.name} holds arrays: name one with --features.")


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


READERS = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def read_indices(path: Path) -> np.ndarray:
    """Row positions from a .npy file, or a text file with one a line.

    Raises:
        InputError: when the file is missing or holds something else.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.asarray([int(line) for line in path.read_text(encoding="utf-8").split()], dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path} cannot be read as row positions ({error}); expected .npy, or one integer a line.") from error


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A table as .csv, .parquet or .json (one record a row).

    Raises:
        InputError: for another kind of file.
    """
    writers = {
        ".csv": lambda: table.to_csv(path, index=False),
        ".parquet": lambda: table.to_parquet(path, index=False),
        ".json": lambda: table.to_json(path, orient="records", indent=1, force_ascii=False, double_precision=15),
    }
    if path.suffix.lower() not in writers:
        raise InputError(f"{path.name} is a file of kind {path.suffix or '(none)'!r}; expected {', '.join(writers)}.")
    writers[path.suffix.lower()]()
