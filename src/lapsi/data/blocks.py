"""Rows of features, read in blocks, and the one first pass over them that tells all that is needed of the whole.

A sum over the rows goes block by block; mean and scatter of two parts are merged by the formulas of Chan, Golub and LeVeque
(1979), which subtract no two large sums.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lapsi.errors import InputError

BLOCK_BYTES = 32 * 2**20
WIDEST_SCATTER = 4096  # features up to which their products fit into little memory
SAMPLE_ENTRIES = 2**24  # of the rows that stand for all where there are more features


class Blocks(ABC):
    """N rows of d numbers, wherever they lie."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, d)."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers as they lie there."""

    @abstractmethod
    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d), as they lie there."""

    @abstractmethod
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows (N, d) in memory."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def block_rows(self) -> int:
        """Rows that take little memory in float64."""
        return max(16, BLOCK_BYTES // (8 * self.shape[1]))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order, `block_rows` at a time, wherever they lie: sums over them are the same to the last bit."""
        for start in range(0, len(self), self.block_rows):
            rows = slice(start, min(start + self.block_rows, len(self)))
            yield rows, self.read(rows)

    def place(self, row: int) -> str:
        """Where a row lies, in words."""
        return f"row {row}"


@final
@dataclass(frozen=True, slots=True, eq=False)
class ArrayBlocks(Blocks):
    """Rows of one array, in memory or mapped into it from a file.

    Attributes:
        array: (N, d).
    """

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return self.array.shape[0], self.array.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        return self.array.dtype

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d): a view for a slice."""
        return self.array[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)


def rebatched(parts: Iterable[np.ndarray], size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows in parts of any size (n, d), cut and joined to parts of one size; the last may be smaller."""
    start, waiting = 0, 0
    held: list[np.ndarray] = []
    for part in parts:
        rest = part
        while waiting + len(rest) >= size:
            taken = size - waiting
            yield slice(start, start + size), np.concatenate([*held, rest[:taken]]) if held else rest[:taken]
            start, waiting, held, rest = start + size, 0, [], rest[taken:]
        if len(rest) > 0:
            held.append(rest)
            waiting += len(rest)
    if held:
        yield slice(start, start + waiting), np.concatenate(held)


def widened_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for float16 and booleans, which it holds exactly; any other type as it is."""
    return np.dtype(np.float32) if dtype == np.float16 or dtype.kind == "b" else dtype


def widened(numbers: np.ndarray) -> np.ndarray:
    """Numbers in the type that sums and hashes of them are of."""
    return numbers.astype(widened_type(numbers.dtype), copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass over N rows of d features tells of them.

    Attributes:
        mean, variance: (d,) float64, population; the variance may overflow where a feature does.
        scatter: (d, d) float64, Σ (x − mean)(x − mean)ᵀ; None where there are too many features.
        sample: (k, d) float64 evenly spaced rows less the mean, where there is no scatter.
        digest: hash of all numbers.
    """

    mean: np.ndarray
    variance: np.ndarray
    scatter: np.ndarray | None
    sample: np.ndarray | None
    digest: str


def survey(features: Blocks, weights: np.ndarray | None = None) -> Survey:
    """One pass over the features, each row counting as often as its weight (N,) says.

    Raises:
        InputError: when one of them is not finite, with the first.
    """
    n_rows, n_columns = features.shape
    is_wide = n_columns > WIDEST_SCATTER
    every = -(-n_rows // max(64, SAMPLE_ENTRIES // n_columns))
    mean, squares, count = np.zeros(n_columns), np.zeros(n_columns), 0.0
    scatter = None if is_wide else np.zeros((n_columns, n_columns))
    sample: list[np.ndarray] = []
    digest = hashlib.blake2b(digest_size=16)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, stored in features.blocks():
            if stored.dtype.kind == "f" and not np.isfinite(stored).all():
                _refuse_gaps(features)
            block = widened(stored)
            digest.update(np.ascontiguousarray(block).data)
            own = None if weights is None else weights[rows]
            total = float(len(block) if own is None else own.sum())
            if is_wide:
                sample.append(block[-rows.start % every :: every].astype(np.float64))
            if total == 0:
                continue
            here = block.mean(0, dtype=np.float64) if own is None else own @ block.astype(np.float64) / total
            centred = block - here
            counted = centred if own is None else centred * own[:, None]
            gap, share = here - mean, count * total / (count + total)
            squares += (centred * counted).sum(0) + share * np.square(gap)
            if scatter is not None:
                scatter += counted.T @ centred + share * np.outer(gap, gap)
            count += total
            mean += gap * (total / count)
        few = np.concatenate(sample) - mean if is_wide else None
    return Survey(mean, squares / count, scatter, few, digest.hexdigest())


def _refuse_gaps(features: Blocks) -> None:
    """Tells how many numbers are none, and the first."""
    n_bad, n_rows, first = 0, 0, None
    for rows, block in features.blocks():
        bad = ~np.isfinite(block)
        n_bad, n_rows = n_bad + int(bad.sum()), n_rows + int(bad.any(1).sum())
        if first is None and bad.any():
            row, column = map(int, np.argwhere(bad)[0])
            first = rows.start + row, column
    assert first is not None
    raise InputError(
        f"The features contain {n_bad} NaN or infinite values in {n_rows} samples, the first at {features.place(first[0])}, "
        f"column {first[1]}. Remove these samples or fill the values in, then score again."
    )
