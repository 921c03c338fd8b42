"""Rows of features that are made of other rows, none of which is copied: joined, chosen, repeated or changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lapsi.data.blocks import Blocks, rebatched


def positions(rows: slice | np.ndarray, n_rows: int) -> np.ndarray:
    """(n,) what `rows` names of N."""
    return np.arange(n_rows)[rows]


@final
@dataclass(frozen=True, slots=True, eq=False)
class JoinedBlocks(Blocks):
    """The rows of several blocks, one after the other.

    Attributes:
        parts: of one width and type.
        names: what each of them is called.
    """

    parts: tuple[Blocks, ...]
    names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return int(self._ends()[-1]), self.parts[0].shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all parts."""
        return self.parts[0].dtype

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d); where one part has them all and they are a slice, as that part gives them."""
        ends, n_rows = self._ends(), len(self)
        if isinstance(rows, slice) and rows.indices(n_rows)[2] == 1:
            return self._stretch(*rows.indices(n_rows)[:2])
        asked = positions(rows, n_rows)
        owners = np.searchsorted(ends, asked, side="right")
        found = np.empty((len(asked), self.shape[1]), self.dtype)
        for owner in np.unique(owners):
            here = owners == owner
            found[here] = self.parts[owner].read(asked[here] - self._start(owner))
        return found

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order, each part read once."""
        yield from rebatched((block for part in self.parts for _, block in part.blocks()), self.block_rows)

    def place(self, row: int) -> str:
        """The row of all, and that of the part."""
        owner = int(np.searchsorted(self._ends(), row, side="right"))
        return f"row {row} ({self.parts[owner].place(row - self._start(owner))} of {self.names[owner]})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def _ends(self) -> np.ndarray:
        """(P,) rows up to the end of each part."""
        return np.cumsum([len(part) for part in self.parts])

    def _start(self, part: int) -> int:
        return int(self._ends()[part]) - len(self.parts[part])

    def _stretch(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` to `stop`."""
        if start >= stop:
            return np.empty((0, self.shape[1]), self.dtype)
        first, last = np.searchsorted(self._ends(), [start, stop - 1], side="right").tolist()
        cut = []
        for owner in range(first, last + 1):
            part, begin = self.parts[owner], self._start(owner)
            cut.append(part.read(slice(max(0, start - begin), min(len(part), stop - begin))))
        return cut[0] if len(cut) == 1 else np.concatenate(cut)


@final
@dataclass(frozen=True, slots=True, eq=False)
class ChosenBlocks(Blocks):
    """Some rows of others, in any order; a row may stand there several times.

    Attributes:
        whole: the others.
        chosen: (n,) their positions.
    """

    whole: Blocks
    chosen: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.chosen), self.whole.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the others."""
        return self.whole.dtype

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some of these rows (k, d)."""
        return self.whole.read(self.chosen[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.whole.read(self.chosen).astype(dtype or self.dtype, copy=False)


@final
@dataclass(frozen=True, slots=True, eq=False)
class ChangedBlocks(Blocks):
    """Rows of others, to some of which something is added.

    Attributes:
        whole: the others.
        changed: (k,) positions of those that are, ascending.
        added: (k, d) what is added to each, of the type that all rows get.
    """

    whole: Blocks
    changed: np.ndarray
    added: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return self.whole.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is added."""
        return self.added.dtype

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d)."""
        return self._with_changes(self.whole.read(rows), positions(rows, len(self)))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order, each read once."""
        for rows, block in self.whole.blocks():
            yield rows, self._with_changes(block, np.arange(rows.start, rows.stop))

    def place(self, row: int) -> str:
        """As the others say."""
        return self.whole.place(row)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def _with_changes(self, given: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Rows (n, d) that lie at positions (n,)."""
        found = given.astype(self.dtype)
        place = np.searchsorted(self.changed, at)
        hit = place < len(self.changed)
        hit[hit] = self.changed[place[hit]] == at[hit]
        found[hit] += self.added[place[hit]]
        return found
