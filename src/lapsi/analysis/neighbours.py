"""Which samples lie nearest to each in the inputs of the model."""

from __future__ import annotations

import numpy as np

from lapsi.results.run_files import NEAREST

NONE = -1
MOST_PRODUCTS = 2e11  # of two numbers: some seconds; beyond, the samples that come first get theirs
BLOCK_ENTRIES = 2**23  # of distances held at once


def nearest(inputs: np.ndarray, first: np.ndarray, count: int = NEAREST, most: float = MOST_PRODUCTS) -> np.ndarray:
    """Positions (n, count) int32 of the samples nearest to each, the nearest first; `NONE` where there are fewer.

    Args:
        inputs: (n, d) of all samples.
        first: (n,) positions in the order in which samples get neighbours.
        count: of each.
        most: products of two numbers that are spent; the samples behind get none.
    """
    n, d = inputs.shape
    found = np.full((n, count), NONE, np.int32)
    asked, width = first[: max(1, int(most / (n * d)))], min(count, n - 1)
    squares = np.einsum("nd,nd->n", inputs, inputs)
    step = max(1, BLOCK_ENTRIES // n)
    for start in range(0, len(asked), step):
        rows = asked[start : start + step]
        distances = squares - 2 * inputs[rows] @ inputs.T  # of one row, less its own square
        distances[np.arange(len(rows)), rows] = np.inf
        near = np.argpartition(distances, width - 1, axis=1)[:, :width]
        order = np.argsort(np.take_along_axis(distances, near, 1), axis=1, kind="stable")
        found[rows, :width] = np.take_along_axis(near, order, 1)
    return found
