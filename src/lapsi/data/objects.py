"""Data sets that people hold in Python: of Hugging Face, of torch, frames, and lists of images or texts.

A library is imported only where an object of it was passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lapsi.data.arrays import one_dimensional, to_numpy
from lapsi.data.dataset import Dataset, make_columns, make_weights
from lapsi.data.items import content_of, content_of_values, item_at, name_images
from lapsi.data.readers.columns import LABEL_NAMES, Columns, choose_name
from lapsi.data.readers.containers import NamedArrays, values_of
from lapsi.data.readers.raw_tables import holds_raw, read_raw
from lapsi.data.samples import IMAGE, TEXT, Content, Samples
from lapsi.data.tables.dataset import labelled
from lapsi.data.tables.frames import is_frame, library_of, to_arrow, to_pandas
from lapsi.errors import InputError

FRAME, ITEMS, LIST = "The frame", "The data set", "The list"
LABELS_ARGUMENT = "labels="
GIVEN = "labels (given)"  # what the column of labels is called that were passed beside a frame
FIELDS = (*LABEL_NAMES, "class")
HELD = (
    "a datasets.Dataset, a map-style data set of torch, a frame of pandas, polars or Arrow, or a list of texts, paths or images"
)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of the samples of an object.

    Attributes:
        labels: (N,) values, or the name of what holds them; None for a usual name.
        ids: (N,) unique identifiers, or None.
        columns: (N,) each by name, what else travels along.
        weights: (N,) how often each counts, or None.
        task: what the labels are, as `make_dataset` takes it.
        split: the part to take, where there are several.
        images, texts: the name of the column that holds them, or None.
    """

    labels: Any = None
    ids: Any = None
    columns: Mapping[str, Any] | pd.DataFrame | None = None
    weights: Any = None
    task: str | None = None
    split: str | None = None
    images: str | None = None
    texts: str | None = None

    @property
    def name(self) -> str | None:
        """Of what holds the labels, where that was given."""
        return self.labels if isinstance(self.labels, str) else None

    @property
    def names(self) -> Columns:
        """Names inside a table."""
        return Columns(images=self.images, texts=self.texts, labels=self.name)

    def features(self, X: Any, y: Any, source: str) -> Dataset:
        """A data set of features."""
        about = {"weights": self.weights, "ids": self.ids, "columns": self.columns}
        return labelled(X, y, task=self.task, source=source, **about)

    def samples(self, content: Content, labels: Any, carried: pd.DataFrame, source: str) -> Samples:
        """A data set of images or texts."""
        n = len(content)
        own = make_columns(self.columns, n)
        return Samples(
            content,
            one_dimensional(labels, "labels", n),
            None if self.ids is None else one_dimensional(self.ids, "ids", n),
            carried.drop(columns=[name for name in carried if name in own]).join(own),
            source,
            weights=None if self.weights is None else make_weights(self.weights, n),
            task=self.task,
        )


def open_object(held: Any, known: Known) -> Dataset | Samples:
    """The features, or images or texts, of a data set that is held in Python.

    Raises:
        InputError: for anything else, or where labels are missing.
    """
    if isinstance(held, DataLoader):
        return open_object(held.dataset, known)
    if library_of(held) == "datasets":
        return _of_rows(held, known)
    if known.split is not None:
        raise InputError(f"split is {known.split!r}, but a {type(held).__name__} has no splits; leave it out.")
    if is_frame(held):
        return _of_frame(held, known)
    if isinstance(held, TorchDataset):
        return _of_items(held, known)
    return _of_values(held, known)


def _of_rows(held: Any, known: Known) -> Dataset | Samples:
    """Of a `datasets.Dataset`, or of a dictionary of such."""
    from lapsi.data.readers.hub import raw_column, rows_content, rows_of_split, rows_values

    rows = rows_of_split(held, known.split, ITEMS)
    if not hasattr(rows, "column_names") or not hasattr(rows, "__len__"):
        raise InputError(f"A {type(held).__name__} is read once and has no length; load the data set without streaming.")
    names = list(rows.column_names)
    is_named = known.labels is None or known.name is not None
    label = choose_name(known.name, FIELDS, names, "labels", ITEMS, named=LABELS_ARGUMENT) if is_named else None
    labels = known.labels if label is None else rows_values(rows, label)
    if raw_column(rows, known.names) is None:
        return known.features(to_pandas(rows.with_format("arrow")[:]).drop(columns=[label] if label else []), labels, ITEMS)
    content, carried = rows_content(rows, known.names, ITEMS)
    return known.samples(content, labels, carried, ITEMS)


def _of_frame(held: Any, known: Known) -> Dataset | Samples:
    """Of a frame with a column of texts or images, or with columns of any kind."""
    table = to_arrow(held)
    if not holds_raw(table.column_names, known.names):
        usual = (
            choose_name(None, FIELDS, table.column_names, "labels", FRAME, named=LABELS_ARGUMENT)
            if known.labels is None
            else None
        )
        return known.features(held, known.labels if usual is None else usual, FRAME)
    names = known.names
    if known.labels is not None and known.name is None:
        values = one_dimensional(known.labels, "labels", table.num_rows)
        table, names = table.append_column(GIVEN, pa.array(values.tolist())), replace(names, labels=GIVEN)
    found = read_raw(Path(FRAME), names, _named(table))
    return known.samples(found.content, found.labels, found.columns, FRAME)


def _named(table: pa.Table) -> NamedArrays:
    def load(name: str) -> Any:
        return values_of(table[name])

    return NamedArrays(table.column_names, load, lambda asked: load(asked[0]), load, table.column, is_table=True)


def _of_items(held: Any, known: Known) -> Dataset | Samples:
    """Of a map-style data set of torch."""
    if not hasattr(held, "__len__"):
        raise InputError(f"A {type(held).__name__} has no length; expected a map-style data set, with items by position.")
    if len(held) < 2:
        raise InputError(f"The data set has {len(held)} sample; expected at least 2.")
    content = content_of(held)
    labels = _labels_of(held, known)
    if content is not None:
        return known.samples(content, labels, pd.DataFrame(index=pd.RangeIndex(len(held))), ITEMS)
    first = held[0]
    if not isinstance(first, tuple | list):
        raise InputError(
            f"The items hold neither images nor texts under a usual name, but {', '.join(map(str, first)) or 'nothing'}; make "
            "features of them and pass these to lapsi.score, or use lapsi.score_network."
        )
    rows = [np.asarray(to_numpy(item_at(held, row, 0))) for row in range(len(held))]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1 or rows[0].ndim != 1:
        raise InputError(
            f"The items have shapes such as {sorted(shapes)[:3]}; expected images, texts or vectors of one length."
        )
    return known.features(np.stack(rows), labels, ITEMS)


def _labels_of(held: Any, known: Known) -> Any:
    """Those that were given, or what the items hold: under a name, or second in a tuple."""
    if known.labels is not None and known.name is None:
        return known.labels
    first = held[0]
    if isinstance(first, Mapping):
        key: Any = choose_name(known.name, FIELDS, list(map(str, first)), "labels", "An item", named=LABELS_ARGUMENT)
    elif known.name is not None or not isinstance(first, tuple | list) or len(first) < 2:
        raise InputError("The items hold no labels that are known; pass labels as an array with one value for each item.")
    else:
        key = 1
    targets = getattr(held, "targets", None)
    if key == 1 and targets is not None and len(targets) == len(held):
        return to_numpy(targets)
    values = [item_at(held, row, key) for row in range(len(held))]
    return to_numpy([value.tolist() if hasattr(value, "tolist") else value for value in values])


def _of_values(held: Any, known: Known) -> Samples:
    """Of a list of texts, of paths or of images, or an array of images."""
    if isinstance(held, str | bytes) or not hasattr(held, "__len__") or not hasattr(held, "__getitem__"):
        raise InputError(f"samples are a {type(held).__name__}; expected {HELD}.")
    if known.labels is None or known.name is not None:
        raise InputError("A list has no labels; pass them as labels, one for each sample.")
    several = held if isinstance(held, np.ndarray) and held.ndim > 1 else list(held)
    if len(several) == 0:
        raise InputError("The list is empty: 0 samples; expected at least 2.")
    is_text = isinstance(several[0], str) and known.images is None
    is_text = is_text and (known.texts is not None or not name_images(list(several)))
    content = content_of_values(several, TEXT if is_text else IMAGE)
    carried = pd.DataFrame({"text": several} if is_text else {}, index=pd.RangeIndex(len(content)))
    if not is_text and isinstance(several[0], str | Path):
        carried["path"] = [str(Path(path).absolute()) for path in several]
    return known.samples(content, known.labels, carried, LIST)
