"""Feature files: .npz, .npy pairs, .safetensors, .parquet, .csv and .jsonl."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from safetensors import SafetensorError, safe_open

from lapsi.data.arrays import EXACT, to_numpy
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.columns import CLASS_NAMES, FEATURE_NAMES, LABEL_NAMES, Columns, choose_name, listed, require_name
from lapsi.data.readers.text_tables import Cells, csv_cells, exact_column, jsonl_cells, magnitude, read_csv, read_jsonl
from lapsi.errors import InputError

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    BadZipFile,
    pa.ArrowException,
    SafetensorError,
)
FEATURES, SAMPLES, MADE_BY = "features", "samples", "lapsi"  # in files of write_features
TABLES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class NamedArrays:
    """What a file holds, read when asked for.

    Attributes:
        names: of its arrays or columns.
        load: an array by its name.
        read: some of its columns, where it is a table.
        ids, labels: what holds the identifiers and the labels, where that is known.
        carried: what travels along with the samples without being asked for.
        made_by: what the file says of its features.
        task: what the labels are, where that is known.
    """

    names: list[str]
    load: Callable[[str], Any]
    read: Callable[[list[str]], pa.Table] | None = None
    ids: str | None = None
    labels: str | None = None
    carried: tuple[str, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)
    task: str | None = None


def read_dataset(path: Path, columns: Columns, arrays: NamedArrays | None = None) -> Dataset:
    """The labelled features in a file, validated; `arrays`: what it holds, where it was opened already.

    Raises:
        InputError: for a missing or unreadable file, an unknown kind, a missing name (naming those present) and
            everything that `make_dataset` refuses.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path, columns)
    arrays = open_arrays(path) if arrays is None else arrays
    if columns.prefix is not None and columns.features is not None:
        raise InputError("Both a features column and a feature prefix were named; name one of them.")
    if columns.prefix is not None and arrays.read is None:
        raise InputError(f"--feature-prefix is for tables; {path.name} holds arrays: name one with --features.")
    with reading(path):
        columns.refuse(("images", "texts"), f"{path.name} holds features")
        labels = _label_names(arrays, columns, path)
        ids = arrays.ids if columns.ids is None else require_name(columns.ids, arrays.names, "ids", path.name)
        asked = {name: name for name in arrays.carried} | columns.carried(arrays.names, path.name)
        carried = {new: arrays.load(old) for new, old in asked.items()}
        weights = None if columns.weights is None else require_name(columns.weights, arrays.names, "weights", path.name)
        features = _features(arrays, columns, {*labels, ids, weights, *asked.values()}, path)
        given, names = _labels(arrays, labels), _class_names(arrays, columns, path)
        if names is not None:
            if columns.class_names is not None:
                _require_names_fit(given, names, columns.class_names)
            given = name_labels(given, names)
            if "reference_label" in carried:
                carried["reference_label"] = name_labels(carried["reference_label"], names)
        identifiers, counted = (None if name is None else arrays.load(name) for name in (ids, weights))
    known = {"ids": identifiers, "weights": counted, "task": columns.task or arrays.task}
    dataset = make_dataset(features, given, columns=carried, source=str(path), **known)
    return replace(dataset, made_by=arrays.made_by)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what libraries raise on a damaged file into one line."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as {path.suffix} ({error}); is the file whole and of this kind?") from error


def open_arrays(path: Path) -> NamedArrays:
    """The arrays or columns of a file.

    Raises:
        InputError: for a missing or unreadable file, or an unknown kind.
    """
    if not path.is_file():
        state = "is a directory" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; expected a file: {', '.join(KINDS)}.")
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path.name} is a file of kind {path.suffix or '(none)'!r}; expected {', '.join(KINDS)}.")
    with reading(path):
        return opener(path)


def _open_npz(path: Path) -> NamedArrays:
    archive = np.load(path, allow_pickle=False)
    if not hasattr(archive, "files"):
        raise ValueError("it holds one array without a name")
    return NamedArrays(list(archive.files), archive.__getitem__)


def _open_safetensors(path: Path) -> NamedArrays:
    archive = safe_open(path, framework="pt")  # maps the file: what is not touched is not read
    if MADE_BY not in (archive.metadata() or {}):
        return NamedArrays(list(archive.keys()), archive.get_tensor)
    details = json.loads(archive.metadata()[MADE_BY])
    table = pa.parquet.read_table(pa.BufferReader(archive.get_tensor(SAMPLES).numpy().tobytes()))
    names = [*table.column_names, FEATURES]
    carried = tuple(name for name in table.column_names if name not in ("id", "label"))
    return NamedArrays(
        names,
        lambda name: archive.get_tensor(name) if name == FEATURES else values_of(table[name]),
        ids="id",
        labels="label",
        carried=carried,
        made_by={name: value for name, value in details.items() if name in ("extractor", "licence")},
        task=details.get("task"),
    )


def _open_parquet(path: Path) -> NamedArrays:
    return _table(pa.parquet.read_schema(path).names, lambda names: pa.parquet.read_table(path, columns=names))


def _open_text(path: Path, read: Callable[[Path], pa.Table], cells: Callable[[Path, str], list[str | None]]) -> NamedArrays:
    table = read(path)
    as_text: Cells = partial(cells, path)
    return NamedArrays(table.column_names, lambda name: values_of(exact_column(table, name, as_text)), table.select)


def _table(names: list[str], read: Callable[[list[str]], pa.Table]) -> NamedArrays:
    return NamedArrays(list(names), lambda name: values_of(read([name])[name]), read)


def _read_npy(path: Path, columns: Columns) -> Dataset:
    if columns.prefix is not None:
        raise InputError(f"--feature-prefix is for tables; {path.name} holds arrays: name one with --features.")
    if columns.labels is None:
        raise InputError(f"{path.name} holds one array, the features; name a second .npy file with --labels.")
    if columns.features is not None:
        raise InputError(f"{path.name} holds one array without a name, so --features does not apply to it.")
    arrays: dict[str, Any] = {}
    for what, name in ({"features": str(path)} | columns.files()).items():
        if name is not None and not Path(name).is_file():
            rows = "a .npy file" if what == "features" else f"a .npy file with one value for each row of {path.name}"
            raise InputError(f"{name} does not exist; expected {rows}.")
        with reading(path if name is None else Path(name)):
            arrays[what] = None if name is None else load_npy(Path(name), mapped=what == "features")
    features, labels, ids, weights = (arrays.pop(what) for what in ("features", "labels", "ids", "weights"))
    carried = {what: values for what, values in arrays.items() if values is not None}
    return make_dataset(features, labels, ids=ids, weights=weights, task=columns.task, columns=carried, source=str(path))


def load_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file, mapped from there or in memory; one that promises more than it holds takes none.

    Raises:
        OSError, ValueError: when it cannot be read as such.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds several arrays")
    return array if mapped else np.array(array)


def _label_names(arrays: NamedArrays, columns: Columns, path: Path) -> list[str]:
    """The array with the labels, or several columns of a table, with commas between them."""
    asked = columns.labels or arrays.labels
    if asked is not None and asked not in arrays.names and arrays.read is not None and "," in asked:
        return [require_name(name.strip(), arrays.names, "labels", path.name) for name in asked.split(",")]
    return [choose_name(asked, LABEL_NAMES, arrays.names, "labels", path.name)]


def _labels(arrays: NamedArrays, names: list[str]) -> Any:
    if len(names) == 1:
        return arrays.load(names[0])
    return pd.DataFrame({name: arrays.load(name) for name in names})


def _features(arrays: NamedArrays, columns: Columns, others: set[str | None], path: Path) -> Any:
    if arrays.read is None:
        return arrays.load(choose_name(columns.features, FEATURE_NAMES, arrays.names, "features", path.name))
    if columns.prefix is None:
        more = "; wide tables: --feature-prefix; raw data: --texts or --images"
        taken = [choose_name(columns.features, FEATURE_NAMES, arrays.names, "features", path.name, more)]
    else:
        taken = [name for name in arrays.names if name.startswith(columns.prefix) and name not in others]
        if not taken:
            raise InputError(f"{path.name} has no column that starts with {columns.prefix!r}; it has {listed(arrays.names)}.")
        taken.sort(key=_natural)
    return _feature_matrix(arrays.read(taken), taken, path)


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


def values_of(column: pa.ChunkedArray) -> np.ndarray:
    """A column of a table as an array (N,); integers beside gaps become floating-point numbers where these are exact."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type) and column.null_count > 0 and magnitude(column) > EXACT:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_pandas().to_numpy()


def _class_names(arrays: NamedArrays, columns: Columns, path: Path) -> np.ndarray | None:
    """(C,) the asked names; those under the usual name where the file holds arrays."""
    name = columns.class_names
    if name is None:
        if arrays.read is not None or CLASS_NAMES not in arrays.names:
            return None
        name = CLASS_NAMES
    names = to_numpy(arrays.load(require_name(name, arrays.names, "class names", path.name)))
    first: dict[Any, int] = {}
    for code, each in enumerate(names.tolist()):
        if first.setdefault(each, code) != code:
            raise InputError(
                f"{path.name}: {name!r} calls both class {first[each]} and class {code} {each!r}, and their labels would "
                "become one; give each class its own name."
            )
    return names


def _require_names_fit(labels: Any, names: np.ndarray, name: str) -> None:
    """Refuses names that were asked for, where the labels are no positions among them."""
    codes = to_numpy(labels)
    known = codes[~pd.isna(codes)]
    whole = known.dtype.kind in "iu" or (known.dtype.kind == "f" and (known == np.floor(known)).all())
    if not whole or (len(known) > 0 and (known.min() < 0 or known.max() >= len(names))):
        got = f"run from {known.min()} to {known.max()}" if whole else f"are of type {codes.dtype}"
        raise InputError(
            f"--class-names {name} holds {len(names)} names, but the labels {got}; expected positions from 0 to "
            f"{len(names) - 1}."
        )


def name_labels(labels: Any, names: np.ndarray) -> np.ndarray:
    """Names (N,) of integer labels; labels of another kind, or without a name, as they are."""
    codes = to_numpy(labels)
    if codes.dtype.kind == "f" and np.isnan(codes).any():  # integers with gaps
        known = name_labels(codes[~np.isnan(codes)].astype(np.int64), names)
        named = np.full(len(codes), None, dtype=object)
        named[~np.isnan(codes)] = known
        return named
    if codes.dtype.kind not in "iu" or len(codes) == 0 or codes.min() < 0 or codes.max() >= len(names):
        return codes
    return names[codes]


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


OPENERS: dict[str, Callable[[Path], NamedArrays]] = {
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".parquet": _open_parquet,
    ".csv": partial(_open_text, read=read_csv, cells=csv_cells),
    ".jsonl": partial(_open_text, read=read_jsonl, cells=jsonl_cells),
}
KINDS = (".npz", ".npy", ".safetensors", *TABLES)


def read_indices(path: Path) -> np.ndarray:
    """Row positions from a .npy file, or a text file with one a line.

    Raises:
        InputError: when the file is missing or holds something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            return load_npy(path)
        return np.asarray([int(line) for line in path.read_text(encoding="utf-8").split()], dtype=np.int64)
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as row positions ({error}); expected .npy, or one integer a line.") from error
