"""What files of features hold, by name, read when it is asked for: arrays, tensors and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from safetensors import safe_open

from lapsi.data.arrays import EXACT
from lapsi.data.readers.arrow_files import ARROW, read_arrow
from lapsi.data.readers.columns import ID_NAMES, first_of
from lapsi.data.readers.feature_columns import feature_rows
from lapsi.data.readers.layouts import DELIMITED, in_words, kind_of
from lapsi.data.readers.mapped import mapped_member, rows_of
from lapsi.data.readers.parquet import parquet_features
from lapsi.data.readers.text_tables import csv_cells, exact_column, jsonl_cells, magnitude, read_csv, read_jsonl
from lapsi.data.readers.torch_files import TENSORS, read_tensors
from lapsi.data.readers.unreadable import reading
from lapsi.errors import InputError

FEATURES, SAMPLES, MADE_BY = "features", "samples", "lapsi"  # in files of write_features
TABLES = (".parquet", *ARROW, *DELIMITED, ".jsonl")
MAPPED_FROM = 2**26  # bytes of a member of an .npz file


@dataclass(frozen=True, slots=True)
class NamedArrays:
    """What a file holds, or several files one after the other, read when asked for.

    Attributes:
        names: of its arrays or columns.
        load: an array by its name.
        features: the rows of an array by its name, or of columns of a table by theirs, where they lie: an array or `Blocks`.
        shared: an array that is no value a sample.
        column: a column of a table, where the samples have one: kept by Arrow, which knows integers beside gaps.
        is_table: whether all names are those of columns.
        ids, labels: what holds the identifiers and the labels, where that is known.
        carried: what travels along with the samples without being asked for.
        made_by: what the file says of its features.
        task: what the labels are, where that is known.
        said: how the file was read, where that needs a word; else "".
    """

    names: list[str]
    load: Callable[[str], Any]
    features: Callable[[list[str]], Any]
    shared: Callable[[str], Any]
    column: Callable[[str], pa.ChunkedArray] | None = None
    is_table: bool = False
    ids: str | None = None
    labels: str | None = None
    carried: tuple[str, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    said: str = ""


def held_arrays(names: list[str], load: Callable[[str], Any]) -> NamedArrays:
    """Arrays that are read whole."""
    return NamedArrays(names, load, lambda asked: load(asked[0]), load)


def ids_of(arrays: NamedArrays, others: Collection[str | None]) -> str | None:
    """The array or column of a usual name that tells all samples apart; None where there is none beside `others`."""
    name = first_of(ID_NAMES, [each for each in arrays.names if each not in others])
    if name is None:
        return None
    values = np.asarray(arrays.load(name))
    if values.ndim != 1 or pd.isna(values).any() or len(set(map(str, values.tolist()))) < len(values):
        return None
    return name


def open_arrays(path: Path) -> NamedArrays:
    """The arrays or columns of a file.

    Raises:
        InputError: for a missing or unreadable file, or an unknown kind.
    """
    if not path.is_file():
        state = "is a directory" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; expected a file: {', '.join(KINDS)}.")
    opener = OPENERS.get(kind_of(path))
    if opener is None:
        raise InputError(f"{path.name} is a file of kind {path.suffix or '(none)'!r}; expected {', '.join(KINDS)}.")
    with reading(path):
        return opener(path)


def _open_npz(path: Path) -> NamedArrays:
    with np.load(path, allow_pickle=False) as archive:
        if not hasattr(archive, "files"):
            raise ValueError("it holds one array without a name")
        names = list(archive.files)

    def load(name: str) -> np.ndarray:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    def features(asked: list[str]) -> np.ndarray:
        mapped = mapped_member(path, asked[0], MAPPED_FROM)
        return load(asked[0]) if mapped is None else mapped

    return NamedArrays(names, load, features, load)


def _open_safetensors(path: Path) -> NamedArrays:
    archive = safe_open(path, framework="pt")  # maps the file: what is not touched is not read

    def features(names: list[str]) -> Any:
        return rows_of(archive.get_tensor(names[0]))

    if MADE_BY not in (archive.metadata() or {}):
        return NamedArrays(list(archive.keys()), archive.get_tensor, features, archive.get_tensor)
    details = json.loads(archive.metadata()[MADE_BY])
    table = pa.parquet.read_table(pa.BufferReader(archive.get_tensor(SAMPLES).numpy().tobytes()))

    def load(name: str) -> Any:
        return archive.get_tensor(name) if name == FEATURES else values_of(table[name])

    return NamedArrays(
        [*table.column_names, FEATURES],
        load,
        features,
        load,
        column=table.column,
        ids="id",
        labels="label",
        carried=tuple(name for name in table.column_names if name not in ("id", "label")),
        made_by={name: value for name, value in details.items() if name in ("extractor", "licence")},
        task=details.get("task"),
    )


def _open_parquet(path: Path) -> NamedArrays:
    def column(name: str) -> pa.ChunkedArray:
        return pa.parquet.read_table(path, columns=[name])[name]

    def load(name: str) -> np.ndarray:
        return values_of(column(name))

    names = pa.parquet.read_schema(path).names
    return NamedArrays(list(names), load, partial(parquet_features, path), load, column, is_table=True)


def _open_arrow(path: Path) -> NamedArrays:
    table = read_arrow(path)

    return _of_table(path, table, table.column)


def _open_tensors(path: Path) -> NamedArrays:
    return named_tensors(read_tensors(path))


def named_tensors(held: dict[str, Any]) -> NamedArrays:
    """Tensors and lists by their names."""
    import torch

    def load(name: str) -> Any:
        value = held[name]
        is_flat = isinstance(value, list | tuple) and not any(isinstance(each, list | tuple) for each in value)
        return np.asarray(value) if is_flat else value

    def features(names: list[str]) -> Any:
        rows = load(names[0])
        return rows_of(rows) if isinstance(rows, torch.Tensor) else rows

    return NamedArrays(list(held), load, features, load)


def _open_delimited(path: Path) -> NamedArrays:
    table, layout = read_csv(path)
    return _of_table(path, table, partial(exact_column, table, cells=partial(csv_cells, path, layout)), in_words(layout, path))


def _open_jsonl(path: Path) -> NamedArrays:
    table = read_jsonl(path)
    return _of_table(path, table, partial(exact_column, table, cells=partial(jsonl_cells, path)))


def _of_table(path: Path, table: pa.Table, column: Callable[[str], pa.ChunkedArray], said: str = "") -> NamedArrays:
    """A table in memory, its columns by `column`."""

    def load(name: str) -> np.ndarray:
        return values_of(column(name))

    def features(names: list[str]) -> np.ndarray:
        return feature_rows(table, names, path)

    return NamedArrays(table.column_names, load, features, load, column, is_table=True, said=said)


def values_of(column: pa.ChunkedArray) -> np.ndarray:
    """A column of a table as an array (N,); integers beside gaps become floating-point numbers where these are exact."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type) and column.null_count > 0 and magnitude(column) > EXACT:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_pandas().to_numpy()


OPENERS: dict[str, Callable[[Path], NamedArrays]] = {
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".parquet": _open_parquet,
    **dict.fromkeys(ARROW, _open_arrow),
    **dict.fromkeys(TENSORS, _open_tensors),
    **dict.fromkeys(DELIMITED, _open_delimited),
    ".jsonl": _open_jsonl,
}
KINDS = (".npz", ".npy", ".safetensors", *TENSORS, *TABLES)
