"""Tables with a column of texts, or of images (paths, or the bytes of files), and arrays of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.arrays import one_dimensional, to_numpy
from lapsi.data.dataset import make_columns, make_weights
from lapsi.data.readers.columns import (
    FEATURE_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    TEXT_NAMES,
    Columns,
    choose_name,
    first_of,
    require_name,
)
from lapsi.data.readers.containers import NamedArrays, ids_of, open_arrays
from lapsi.data.readers.unreadable import reading
from lapsi.data.samples import (
    Content,
    EncodedImages,
    ImageFiles,
    Samples,
    checked_texts,
    image_arrays,
    is_missing,
    present,
)
from lapsi.errors import InputError


def holds_raw(names: list[str], columns: Columns) -> bool:
    """Whether a file with these names is asked for, or, with no features named, looks like one, of texts or images."""
    if columns.images is not None or columns.texts is not None:
        return True
    if columns.features is not None or columns.prefix is not None:
        return False
    return first_of(FEATURE_NAMES, names) is None and first_of((*TEXT_NAMES, *IMAGE_NAMES), names) is not None


def read_raw(path: Path, columns: Columns, arrays: NamedArrays | None = None) -> Samples:
    """The texts or images of a table (.csv, .tsv, .parquet, .jsonl), or an array of images (.npz).

    `arrays`: what the file holds, where it was opened already.

    Raises:
        InputError: for a missing column (naming those present), a column of neither, and what cannot be read.
    """
    arrays = open_arrays(path) if arrays is None else arrays
    columns.refuse(("features", "prefix", "class_names", "drop"), f"{path.name} is read as texts or images")
    if columns.images is not None and columns.texts is not None:
        raise InputError("Both a column with images and one with texts were named; name one of them.")
    as_text = columns.texts is not None or (columns.images is None and first_of(TEXT_NAMES, arrays.names) is not None)
    what, asked, usual = ("texts", columns.texts, TEXT_NAMES) if as_text else ("images", columns.images, IMAGE_NAMES)
    with reading(path):
        name = choose_name(asked, usual, arrays.names, what, path.name)
        labels = choose_name(columns.labels, LABEL_NAMES, [each for each in arrays.names if each != name], "labels", path.name)
        carried = {new: arrays.load(old) for new, old in columns.carried(arrays.names, path.name).items()}
        taken = {name, labels, columns.weights, *columns.carried(arrays.names, path.name).values()}
        named = ids_of(arrays, taken) if columns.ids is None else require_name(columns.ids, arrays.names, "ids", path.name)
        ids = None if named is None else arrays.load(named)
        values = arrays.load(name)
        given = arrays.load(labels)
        counted = (
            None if columns.weights is None else arrays.load(require_name(columns.weights, arrays.names, "weights", path.name))
        )
    if as_text:
        content: Content = checked_texts(values.tolist(), path.name)
        carried["text"] = values
    else:
        content, paths = image_column(values, path)
        if paths is not None:
            carried["path"] = [None if each is None else str(each.absolute()) for each in paths]
            ids = _own_ids(paths, path.parent) if ids is None else ids
    n = len(content)
    ids = None if ids is None else one_dimensional(ids, "ids", n)
    labelled = one_dimensional(given, "labels", n)
    weights = None if counted is None else make_weights(counted, n)
    carried_along = make_columns(carried, n)
    return Samples(content, labelled, ids, carried_along, str(path), weights=weights, task=columns.task, said=arrays.said)


def _own_ids(paths: list[Path | None], folder: Path) -> np.ndarray | None:
    """Paths are good names for samples where none stands twice."""
    names = [
        f"row {row}" if path is None else path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        for row, path in enumerate(paths)
    ]
    return to_numpy(names) if len(set(names)) == len(names) else None


def image_column(values: Any, path: Path) -> tuple[Content, list[Path | None] | None]:
    """The content, and the paths where it is one of files; those in a table are relative to its folder, None for gaps."""
    if values.dtype.kind != "O" and values.ndim > 1:
        return image_arrays(values), None
    if len(values) == 0:
        raise InputError(f"{path.name} holds no rows; expected at least 2.")
    if any(isinstance(value, dict) for value in values):  # how Hugging Face keeps images in Parquet
        values = np.array(
            [None if value is None else value.get("bytes") or value.get("path") for value in values], dtype=object
        )
    held = [None if is_missing(value) else value for value in values]
    first = next((value for value in held if value is not None), None)
    if first is None:
        raise InputError(f"{path.name}: all {len(values):,} images are missing; expected paths, or the bytes of files.")
    if isinstance(first, bytes):
        return EncodedImages([f"image {row} of {path.name}" for row in range(len(held))], lambda row: present(held[row])), None
    if not isinstance(first, str):
        raise InputError(f"{path.name}: the images are of type {type(first).__name__}; expected paths, or the bytes of files.")
    paths = [None if value is None else path.parent / value for value in held]
    return ImageFiles(paths), paths
