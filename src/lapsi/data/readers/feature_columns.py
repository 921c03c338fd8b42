"""Features in the columns of a table that is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from lapsi.errors import InputError


def is_list(kind: pa.DataType) -> bool:
    """Whether each cell of such a column is a list."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def require_numbers(schema: pa.Schema, names: list[str], path: Path) -> None:
    """Refuses columns of anything but numbers.

    Raises:
        InputError: naming the first.
    """
    kinds = {name: schema.field(name).type for name in names}
    wrong = [name for name, kind in kinds.items() if not (pa.types.is_integer(kind) or pa.types.is_floating(kind))]
    if wrong:
        raise InputError(f"Column {wrong[0]!r} of {path.name} holds {kinds[wrong[0]]}; expected numbers or lists of numbers.")


def column_matrix(columns: pa.Table | pa.RecordBatch, names: list[str]) -> np.ndarray:
    """(n, d) float64: columns of numbers side by side, NaN where one is missing."""
    matrix = np.empty((columns.num_rows, len(names)))
    for position, name in enumerate(names):
        matrix[:, position] = columns.column(name).to_numpy(zero_copy_only=False)
    return matrix


def feature_rows(table: pa.Table, names: list[str], path: Path) -> np.ndarray:
    """Features (N, d): lists of numbers in one column, or columns of numbers.

    Raises:
        InputError: when they are neither, or the lists differ in length.
    """
    if len(names) == 1 and is_list(table[names[0]].type):
        return _stacked(table[names[0]], names[0], path)
    require_numbers(table.schema, names, path)
    return column_matrix(table, names)


def _stacked(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    lists = column.to_numpy(zero_copy_only=False)
    lengths = {None if value is None else len(value) for value in lists}
    if len(lengths) > 1 or None in lengths:
        shown = ", ".join(map(str, sorted(lengths, key=str)[:5]))
        raise InputError(f"The lists in column {name!r} of {path.name} differ in length ({shown}); expected one length.")
    return np.stack(lists) if len(column) else np.empty((0, 1))
