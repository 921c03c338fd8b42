"""The inverse of a large symmetric positive definite matrix in its own place, by blocks.

LAPACK counts entries in 32 bits: beyond 46,340 rows it fails, or worse. The symmetric sweep operator (Beaton 1964) takes one
block of rows after another, n³ flop, all of them in large products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul

BLOCK = 512  # larger ones multiply more of the tiles on the diagonal twice


def invert_in_place(matrix: Tensor, block: int = BLOCK) -> bool:
    """A matrix (m, m) of which the lower triangle is given becomes its inverse, whole; False where it is not positive definite.

    Beside it 3·m·block entries are held. Pivots are inverted in float64.
    """
    for rows in _blocks(len(matrix), block):
        factor, info = torch.linalg.cholesky_ex(matrix[rows, rows].double())
        if int(info) != 0:
            return False
        pivot = torch.cholesky_inverse(factor).to(matrix.dtype)
        column = torch.cat([matrix[rows, : rows.start].T, matrix[rows.start :, rows]])
        column[rows] = 0
        _sweep(matrix, rows, column, matmul(column, pivot), block)
        matrix[rows, rows] = -pivot
    for rows in _blocks(len(matrix), block):
        matrix[rows, : rows.stop].neg_()
        tile = matrix[rows, rows]
        tile.copy_(tile.tril() + tile.tril(-1).T)
        matrix[: rows.start, rows] = matrix[rows, : rows.start].T
    return True


def _sweep(matrix: Tensor, rows: slice, column: Tensor, solved: Tensor, block: int) -> None:
    """A_ij − A_ik A_kk⁻¹ A_kj in the lower triangle, and A_ik A_kk⁻¹ in the rows and columns k = `rows`."""
    for others in _blocks(len(matrix), block):
        matrix[others, : others.stop] -= matmul(solved[others], column[: others.stop].T)
    matrix[rows, : rows.start] = solved[: rows.start].T
    matrix[rows.stop :, rows] = solved[rows.stop :]


def _blocks(n_rows: int, size: int) -> Iterator[slice]:
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))
