"""A table with all its columns, written again: cells of a file of text that nothing was decided about stay as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.readers.layouts import DELIMITED, kind_of
from lapsi.data.readers.whole_tables import read_whole
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.data.rewriting.paths import mover
from lapsi.data.targets import label_set
from lapsi.data.writing import write_table


def rewrite_table(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The rows of the samples that stay; relative paths of images stay right in `folder`."""
    is_text = kind_of(target) in DELIMITED
    table, layout = read_whole(source, as_text=is_text)
    decided.require_rows(len(table), source.name)
    if len(decided.changed) > 0:
        assert named.labels is not None
        table = table.assign(**{named.labels: relabelled_column(table[named.labels], decided, layout.decimal)})
    kept = with_moved(table.iloc[decided.kept], named.paths, source.absolute().parent, folder)
    write_table(kept, target, layout.written_as(kind_of(target)) if is_text else None)


def with_moved(table: pd.DataFrame, column: str | None, before: Path, after: Path) -> pd.DataFrame:
    """A table whose paths in a column were relative to one folder, and are then to another."""
    if column is None:
        return table
    return table.assign(**{column: list(map(mover(before, after), table[column]))})


def as_cell(label: Any, column: pd.Series, decimal: str) -> Any:
    """A new label as the column holds the others: as text where it is one of texts."""
    if not pd.api.types.is_string_dtype(column):
        return label
    return str(label).replace(".", decimal) if isinstance(label, float) else str(label)


def relabelled_column(column: pd.Series, decided: Decided, decimal: str) -> pd.Series:
    """A column of labels with the new ones in it, in its type where that holds them."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind != "O":
        return pd.Series(decided.written(column.to_numpy()), index=column.index)
    values = column.to_numpy(dtype=object, copy=True)
    for row, label in zip(decided.changed.tolist(), decided.labels, strict=True):
        is_list = isinstance(values[row], list | np.ndarray)
        values[row] = sorted(label_set(label)) if is_list else as_cell(label, column, decimal)
    written = pd.Series(values, index=column.index)
    return written.astype(column.dtype) if pd.api.types.is_string_dtype(column) else written
