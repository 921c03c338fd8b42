"""The linear softmax probe: logits z = W x with x ending in a constant 1 (the bias), W = V U in contrast coordinates.

Legend of the indices: i j sample, a b c class, m n contrast, k l feature. `params` is always U (C−1, D), flattened
contrast-major (index m·D + k) where a vector of P' = (C−1)·D is needed; weights are W (C, D).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.models.likelihoods.softmax import contrast_basis

COLUMN_TILES = 4


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """Shapes of a linear softmax probe and its forward pass.

    Attributes:
        n_features: D, the constant 1 included.
        n_classes: C.
        basis: V (C, C−1), the contrast basis, float64.
    """

    n_features: int
    n_classes: int
    basis: Tensor

    @property
    def n_params(self) -> int:
        """P = C·D, the parameters of the probe."""
        return self.n_classes * self.n_features

    @property
    def n_free_params(self) -> int:
        """P' = (C−1)·D, the parameters that the likelihood sees."""
        return (self.n_classes - 1) * self.n_features

    def logits(self, params: Tensor, inputs: Tensor) -> Tensor:
        """z = W x for every row of `inputs` (n, D); `params` is (…, C−1, D), the result (n, …, C)."""
        contrasts = torch.einsum("ik,...mk->i...m", inputs, params)
        return contrasts @ self.basis.to(contrasts.dtype).T

    def weights(self, params: Tensor) -> Tensor:
        """W = V U: (…, C−1, D) to (…, C, D)."""
        return torch.einsum("cm,...mk->...ck", self.basis.to(params.dtype), params)


def linear_probe(n_features: int, n_classes: int, device: torch.device) -> LinearProbe:
    """The probe for D features (the constant included) and C classes, its basis on `device`."""
    return LinearProbe(n_features, n_classes, contrast_basis(n_classes).to(device))


def weighted_gram(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ_j w_j ⊗ x_j x_jᵀ for symmetric w_j: (m·D, m·D) from blocks of inputs (n, D) and weights (n, m, m).

    The sum is symmetric in the contrasts and in the features, so only b ≤ a and, tile by tile, l ≥ k are multiplied:
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
