"""Labelled features in files of their own, one or several: arrays with names, .npy with others beside it, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.class_names import class_names, name_labels, require_names_fit
from lapsi.data.readers.columns import FEATURE_NAMES, ID_NAMES, LABEL_NAMES, Columns, choose_name, listed, require_name
from lapsi.data.readers.containers import NamedArrays, ids_of, open_arrays
from lapsi.data.readers.labels import read_values
from lapsi.data.readers.mapped import load_npy
from lapsi.data.readers.plain_tables import is_plain_table, table_features
from lapsi.data.readers.shard_names import natural, shards_of
from lapsi.data.readers.shards import joined_rows, joined_values
from lapsi.data.readers.sparse_files import read_matrix
from lapsi.data.readers.unreadable import UNREADABLE, reading
from lapsi.data.tables.dataset import labelled, of_encoded
from lapsi.errors import InputError

# what files beside one of features hold: the option that names them, and usual names inside
BESIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    "labels": ("labels", LABEL_NAMES),
    "ids": ("ids", ID_NAMES),
    "split": ("split-column", ()),
    "reference_label": ("reference-labels", ()),
}


def read_dataset(path: Path, columns: Columns, arrays: NamedArrays | None = None) -> Dataset:
    """The labelled features in a file, validated; `arrays`: what it or its shards hold, where that was opened already.

    Raises:
        InputError: for a missing or unreadable file, an unknown kind, a missing name (naming those present) and
            everything that `make_dataset` refuses.
    """
    if path.suffix.lower() == ".npy":
        return read_npy([path], columns, str(path))
    arrays = open_arrays(path) if arrays is None else arrays
    if columns.prefix is not None and columns.features is not None:
        raise InputError("Both a features column and a feature prefix were named; name one of them.")
    if columns.prefix is not None and not arrays.is_table:
        raise InputError(f"--feature-prefix is for tables; {path.name} holds arrays: name one with --features.")
    plain = is_plain_table(arrays, columns)
    if not plain and columns.prefix is None:
        columns.refuse(("drop",), f"the features of {path.name} are one array or column")
    with reading(path):
        columns.refuse(("images", "texts"), f"{path.name} holds features")
        labels = _label_names(arrays, columns, path)
        asked_ids = arrays.ids if columns.ids is None else require_name(columns.ids, arrays.names, "ids", path.name)
        asked = {name: name for name in arrays.carried} | columns.carried(arrays.names, path.name)
        carried = {new: arrays.load(old) for new, old in asked.items()}
        weights = None if columns.weights is None else require_name(columns.weights, arrays.names, "weights", path.name)
        taken = {*labels, weights, *asked.values(), *columns.drop, columns.features}
        ids = ids_of(arrays, taken) if asked_ids is None and not plain else asked_ids
        others = {*labels, ids, weights, *asked.values(), *columns.drop}
        table = table_features(arrays, columns, others, path) if plain else None
        features = None if plain else _features(arrays, columns, others, path)
        given, names = _labels(arrays, labels), class_names(arrays, columns, path)
        if names is not None:
            if columns.class_names is not None:
                require_names_fit(given, names, columns.class_names)
            given = name_labels(given, names)
            if "reference_label" in carried:
                carried["reference_label"] = name_labels(carried["reference_label"], names)
        identifiers, counted = (None if name is None else arrays.load(name) for name in (ids, weights))
    known: dict[str, Any] = {"ids": identifiers, "weights": counted, "task": columns.task or arrays.task}
    if table is not None:
        return replace(of_encoded(*table, given, columns=carried, source=str(path), **known), said=arrays.said)
    dataset = make_dataset(features, given, columns=carried, source=str(path), **known)
    return replace(dataset, made_by=arrays.made_by, said=arrays.said)


def read_npy(paths: Sequence[Path], columns: Columns, source: str) -> Dataset:
    """The features in .npy files, one after the other, with labels in others.

    Args:
        paths: of the features, in their order.
        columns: whose names are those of the other files: each one file, or a pattern or a folder of several in their order,
            or FILE:NAME of a file with names, such as a table.
        source: what the features are called.

    Raises:
        InputError: for a missing or unreadable file, an option that does not apply, and everything that `make_dataset` refuses.
    """
    name = Path(source).name
    if columns.prefix is not None:
        raise InputError(f"--feature-prefix is for tables; {name} holds arrays: name one with --features.")
    if columns.labels is None:
        raise InputError(f"{name} holds one array, the features; name a second .npy file with --labels.")
    if columns.features is not None:
        raise InputError(f"{name} holds one array without a name, so --features does not apply to it.")
    features = joined_rows([_npy(path, "a .npy file", mapped=True) for path in paths], paths)
    labels, known = _beside(columns, name)
    return make_dataset(features, labels, source=source, **known)


def read_sparse(paths: Sequence[Path], columns: Columns, source: str) -> Dataset:
    """The sparse features in files of `scipy.sparse.save_npz`, in few dimensions, with labels in other files.

    Args:
        paths: of the features, in their order.
        columns: whose names are those of the other files, as in `read_npy`.
        source: what the features are called.

    Raises:
        InputError: for a missing or unreadable file, an option that does not apply, and everything that `labelled` refuses.
    """
    name = Path(source).name
    columns.refuse(("features", "prefix", "images", "texts", "class_names", "keep", "drop"), f"{name} holds a sparse matrix")
    if columns.labels is None:
        raise InputError(
            f"{name} holds a sparse matrix, the features; name a file with the labels: --labels y.npy, or --labels FILE:COLUMN."
        )
    labels, known = _beside(columns, name)
    matrix = read_matrix(paths, len(labels))
    with reading(paths[0]):
        return labelled(matrix, labels, source=source, **known)


def _beside(columns: Columns, features: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels (N,) in a file beside that of features, and what else `make_dataset` takes of other files."""
    asked = {what: file for what, file in columns.files().items() if file is not None}
    arrays = {what: _values(file, features, what) for what, file in asked.items()}
    labels, ids, weights = (arrays.pop(what, None) for what in ("labels", "ids", "weights"))
    assert labels is not None
    return labels, {"ids": ids, "weights": weights, "task": columns.task, "columns": arrays}


def _values(file: str, features: str, what: str) -> np.ndarray:
    """(N,) what a .npy file or several hold beside those of features, or FILE:NAME of another kind."""
    paths = [Path(file)] if Path(file).is_file() else shards_of(file) or [Path(file)]
    if any(path.suffix.lower() == ".npy" for path in paths):
        expected = f"a .npy file with one value for each row of {features}"
        return joined_values([_npy(path, expected) for path in paths], paths, "values")
    called, usual = BESIDE.get(what, (what, ()))
    return read_values(file, called, usual)


def _npy(path: Path, expected: str, *, mapped: bool = False) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected {expected}.")
    with reading(path):
        return load_npy(path, mapped=mapped)


def _label_names(arrays: NamedArrays, columns: Columns, path: Path) -> list[str]:
    """The array with the labels, or several columns of a table, with commas between them."""
    asked = columns.labels or arrays.labels
    if asked is not None and asked not in arrays.names and arrays.is_table and "," in asked:
        return [require_name(name.strip(), arrays.names, "labels", path.name) for name in asked.split(",")]
    return [choose_name(asked, LABEL_NAMES, arrays.names, "labels", path.name)]


def _labels(arrays: NamedArrays, names: list[str]) -> Any:
    if len(names) == 1:
        return arrays.load(names[0])
    return pd.DataFrame({name: arrays.load(name) for name in names})


def _features(arrays: NamedArrays, columns: Columns, others: set[str | None], path: Path) -> Any:
    if columns.prefix is None:
        more = "; wide tables: --feature-prefix; raw data: --texts or --images" if arrays.is_table else ""
        return arrays.features([choose_name(columns.features, FEATURE_NAMES, arrays.names, "features", path.name, more)])
    taken = [name for name in arrays.names if name.startswith(columns.prefix) and name not in others]
    if not taken:
        raise InputError(f"{path.name} has no column that starts with {columns.prefix!r}; it has {listed(arrays.names)}.")
    return arrays.features(sorted(taken, key=natural))


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
