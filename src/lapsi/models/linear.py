"""The linear model z = W x with x ending in a constant 1 (the bias), W = V U in the directions that the loss sees.

Legend of the indices: i j sample, a c output, m n direction of the basis, k l feature. `params` is always U (F, D), flattened
direction-major (index m·D + k) where a vector of P' = F·D is needed; weights are W (K, D).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.base import Model

COLUMN_TILES = 4


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearModel(Model):
    """Shapes of a linear model and its forward pass.

    Attributes:
        n_features: D, the constant 1 included.
        basis: V (K, F) float64, that of the likelihood.
    """

    n_features: int
    basis: Tensor

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self.basis)

    @property
    def n_directions(self) -> int:
        """F, the directions of the outputs that the loss sees."""
        return self.basis.shape[1]

    @property
    def n_params(self) -> int:
        """P' = F·D, the parameters that the likelihood sees."""
        return self.n_directions * self.n_features

    @property
    def n_weights(self) -> int:
        """P = K·D."""
        return self.n_outputs * self.n_features

    def initial(self, seed: int) -> Tensor:
        """0 (F, D), whatever the seed: the problem is convex."""
        return self.basis.new_zeros(self.n_directions, self.n_features)

    def outputs(self, params: Tensor, inputs: Tensor) -> Tensor:
        """z = W x (…, n, K) for every row of `inputs` (n, D); `params` is (…, F, D)."""
        directions = inputs @ params.mT
        return directions @ self.basis.to(directions.dtype).T

    def weights(self, params: Tensor) -> Tensor:
        """W = V U: (…, F, D) to (…, K, D)."""
        return torch.einsum("cm,...mk->...ck", self.basis.to(params.dtype), params)


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
