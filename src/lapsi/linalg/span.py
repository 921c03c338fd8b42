"""Fewer rows than columns: coordinates in the span of the rows, in which nothing is lost."""

from __future__ import annotations

import torch
from torch import Tensor


def row_span(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates Z (n, n) and an orthonormal basis B (n, D) with Z B the matrix (n, D), n ≤ D; by a QR factorisation."""
    basis, coordinates = torch.linalg.qr(matrix.T)
    return coordinates.T.contiguous(), basis.T.contiguous()
