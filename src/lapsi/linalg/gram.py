"""Sums over samples of outer products with a small matrix each.

Legend of the indices: j sample, a b row and column of the small matrix, k l feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from lapsi.linalg.matmul import in_threads, matmul

COLUMN_TILES = 4
BLOCK_ENTRIES = 2**22


def square(inputs: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_j a_j x_jx_jᵀ (D, D) float64 for inputs (N, D) and weights a (N,), a block of rows at a time."""
    total = torch.zeros(inputs.shape[1], inputs.shape[1], dtype=torch.float64, device=inputs.device)
    size = _rows_at_a_time(inputs)
    for start in range(0, len(inputs), size):
        block = inputs[start : start + size].double()
        total += (block if weights is None else block * weights[start : start + size, None]).T @ block
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Some of the terms of a sum over samples.

    Attributes:
        rows: (n,) the samples.
        weights: (n,) of each.
    """

    rows: Tensor
    weights: Tensor


def terms_that_matter(rows: Tensor, weights: Tensor, left_out: float) -> Terms:
    """Of samples `rows` (n,) and weights w (n,), without small weights that sum to less than a share `left_out` of Σ|w|."""
    matter = that_matter(weights.abs(), left_out)
    return Terms(rows[matter], weights[matter])


def that_matter(sizes: Tensor, left_out: float) -> Tensor:
    """Positions (m,) of sizes (n,) ≥ 0 without small ones, which sum to less than a share `left_out` of all."""
    return torch.nonzero(sizes > left_out * sizes.mean()).flatten()


def squares(inputs: Tensor, sums: Sequence[Terms]) -> list[Tensor]:
    """Of each sum Σ_j w_j x_jx_jᵀ (D, D) of inputs (N, D) in float32."""
    if inputs.device.type != "cpu":
        return [product(inputs, terms, lambda block: block) for terms in sums]
    array = inputs.numpy()
    return [torch.from_numpy(total) for total in in_threads(partial(_square, array), sums)]


def product(inputs: Tensor, terms: Terms, left: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ_j w_j l(x_j)x_jᵀ (d, D) of inputs x (N, D), where `left` makes l(x) (n, d) of x (n, D)."""
    size = _rows_at_a_time(inputs)
    blocks = (
        (inputs[rows], weights[:, None])
        for rows, weights in zip(terms.rows.split(size), terms.weights.split(size), strict=True)
    )
    added = (matmul((left(block) * weights).T, block) for block, weights in blocks)
    return reduce(Tensor.add_, added)


def _square(inputs: np.ndarray, terms: Terms) -> np.ndarray:
    """Σ_j w_j x_jx_jᵀ (D, D) as the square of √w_j x_j of the weights of either sign: half of the flop of a product."""
    rows, weights = terms.rows.numpy(), terms.weights.numpy()
    total = np.zeros((inputs.shape[1], inputs.shape[1]), inputs.dtype)
    for add, of_sign in ((np.add, weights > 0), (np.subtract, weights < 0)):
        some, roots = rows[of_sign], np.sqrt(np.abs(weights[of_sign]))
        for start in range(0, len(some), _rows_at_a_time(inputs)):
            block = inputs.take(some[start : start + _rows_at_a_time(inputs)], axis=0)
            block *= roots[start : start + len(block), None]
            add(total, block.T @ block, out=total)
    return total


def _rows_at_a_time(inputs: Tensor | np.ndarray) -> int:
    return max(16, BLOCK_ENTRIES // inputs.shape[1])


def weighted_gram(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ_j w_j ⊗ x_j x_jᵀ for symmetric w_j: (m·D, m·D) from blocks of inputs (n, D) and weights (n, m, m).

    The sum is symmetric in the w and in the features, so only b ≤ a and, tile by tile, l ≥ k are multiplied:
    (m(m+1)/2)·N·D²·(1 + 1/tiles) flop instead of 2m²·N·D².
    """
    sums: dict[tuple[int, int], Tensor] = {}
    for inputs, weights in blocks:
        n, d = inputs.shape
        m = weights.shape[1]
        buffer = inputs.new_empty(n * m * d)
        for start, stop in _column_tiles(d):
            head, tail = inputs[:, start:stop].T.contiguous(), inputs[:, start:]
            for a in range(m):
                wide = buffer[: n * (a + 1) * (d - start)].view(n, a + 1, d - start)
                torch.mul(weights[:, a, : a + 1, None], tail[:, None, :], out=wide)
                if (a, start) not in sums:
                    sums[a, start] = inputs.new_zeros(stop - start, (a + 1) * (d - start))
                sums[a, start].addmm_(head, wide.view(n, -1))
    return _assemble(sums, m, d)


def _column_tiles(n_columns: int) -> list[tuple[int, int]]:
    width = -(-n_columns // COLUMN_TILES)
    return [(start, min(start + width, n_columns)) for start in range(0, n_columns, width)]


def _assemble(sums: dict[tuple[int, int], Tensor], m: int, d: int) -> Tensor:
    """The whole matrix from the tiles (k in the tile, b ≤ a, l ≥ start of the tile) of `weighted_gram`."""
    total = next(iter(sums.values())).new_empty(m, d, m, d)
    for (a, start), tile in sums.items():
        size = len(tile)
        for b, product in enumerate(tile.view(size, a + 1, d - start).unbind(1)):
            for first, second in ((a, b), (b, a)):
                total[first, start : start + size, second, start:] = product
                total[first, start:, second, start : start + size] = product.T
    return total.view(m * d, m * d)
