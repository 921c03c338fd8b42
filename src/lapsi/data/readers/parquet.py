"""Features in Parquet files, decoded in batches as they are asked for: a column of them is never whole in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from lapsi.data.blocks import Blocks, rebatched
from lapsi.data.composed import positions
from lapsi.data.readers.feature_columns import column_matrix, feature_rows, is_list, require_numbers
from lapsi.data.readers.unreadable import reading
from lapsi.errors import InputError

FIRST_ROWS = 64


def parquet_features(path: Path, names: list[str]) -> Blocks | np.ndarray:
    """Features (N, d) in one column of lists of numbers, or in columns of numbers; what else lists may hold is read whole.

    Raises:
        InputError: when they are neither.
    """
    with pq.ParquetFile(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    kind = schema.field(names[0]).type
    ends = np.cumsum(sizes, dtype=np.int64)
    if len(names) == 1 and is_list(kind):
        number = kind.value_type
        plain = pa.types.is_integer(number) or pa.types.is_floating(number) or pa.types.is_boolean(number)
        width = _first_length(path, names[0]) if n_rows > 0 and plain else 0
        if width == 0:
            return feature_rows(pq.read_table(path, columns=names), names, path)
        return ParquetBlocks(path, names, ends, width, np.dtype(number.to_pandas_dtype()), are_lists=True)
    require_numbers(schema, names, path)
    return ParquetBlocks(path, names, ends, len(names), np.dtype(np.float64), are_lists=False)


def _first_length(path: Path, name: str) -> int:
    """Of the first list of a column; 0 where it is missing."""
    with pq.ParquetFile(path, memory_map=True) as file:
        first = next(file.iter_batches(FIRST_ROWS, columns=[name])).column(0)
    return pa.compute.list_value_length(first)[0].as_py() or 0


@final
@dataclass(frozen=True, slots=True, eq=False)
class ParquetBlocks(Blocks):
    """Rows of features in a Parquet file. To read one the batches of its row group are decoded up to there.

    Attributes:
        path: of the file.
        names: one column of lists, or the columns of numbers.
        ends: (G,) rows up to the end of each row group.
        width: d.
        number: type of the numbers; float64 where each has a column of its own.
        are_lists: whether the features are lists in one column.
    """

    path: Path
    names: list[str]
    ends: np.ndarray
    width: int
    number: np.dtype[Any]
    are_lists: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return int(self.ends[-1]) if len(self.ends) else 0, self.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the file holds them, or float64."""
        return self.number

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d), in any order.

        Raises:
            InputError: when the file cannot be read.
        """
        wanted, back = np.unique(positions(rows, len(self)), return_inverse=True)
        groups = np.unique(np.searchsorted(self.ends, wanted, side="right"))
        found = np.empty((len(wanted), self.width), self.number)
        for group in groups.tolist():
            start = int(self.ends[group - 1]) if group > 0 else 0
            last = int(wanted[np.searchsorted(wanted, self.ends[group]) - 1])
            for part in self._decoded([group], start):
                here = slice(*np.searchsorted(wanted, [start, start + len(part)]).tolist())
                found[here] = part[wanted[here] - start]
                start += len(part)
                if start > last:
                    break
        return found if np.array_equal(back, np.arange(len(back))) else found[back]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order, decoded once.

        Raises:
            InputError: when the file cannot be read, or its lists differ in length, with the first.
        """
        yield from rebatched(self._decoded(range(len(self.ends)), 0), self.block_rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(slice(None)).astype(dtype or self.number, copy=False)

    def _decoded(self, groups: list[int] | range, start: int) -> Iterator[np.ndarray]:
        """The rows of some row groups, which begin at row `start`, batch by batch."""
        with reading(self.path), pq.ParquetFile(self.path, memory_map=True) as file:
            for batch in file.iter_batches(self.block_rows, row_groups=groups, columns=self.names):
                yield self._stacked(batch.column(0), start) if self.are_lists else column_matrix(batch, self.names)
                start += batch.num_rows

    def _stacked(self, lists: pa.Array, start: int) -> np.ndarray:
        """(n, d) of lists whose first is row `start`."""
        lengths = pa.compute.fill_null(pa.compute.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(lengths != self.width)
        if len(wrong) > 0:
            row, length = int(wrong[0]), int(lengths[wrong[0]])
            got = "is missing" if length < 0 else f"has {length} numbers"
            raise InputError(
                f"The lists in column {self.names[0]!r} of {self.path.name} differ in length: that of row {start + row} {got}, "
                f"the first has {self.width}; expected one length."
            )
        return lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.width)
