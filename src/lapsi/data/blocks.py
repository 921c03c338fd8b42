"""Rows of features, read in blocks, and the one first pass over them that tells all that is needed of the whole.

A sum over the rows goes block by block; mean and scatter of two parts are merged by the formulas of Chan, Golub and LeVeque
(1979), which subtract no two large sums.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
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

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order, in parts that take little memory in float64."""
        n_rows, n_columns = self.shape
        size = max(16, BLOCK_BYTES // (8 * n_columns))
        for start in range(0, n_rows, size):
            rows = slice(start, min(start + size, n_rows))
            yield rows, self.read(rows)


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
        for rows, block in features.blocks():
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                _refuse_gaps(features)
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
        f"The features contain {n_bad} NaN or infinite values in {n_rows} samples, the first at row {first[0]}, column "
        f"{first[1]}. Remove these samples or fill the values in, then score again."
    )
