"""The linear model z = W x with x ending in a constant 1 (the bias), W = V U in the directions that the loss sees.

Legend of the indices: c output, m direction of the basis, k feature. `params` is always U (F, D), flattened
direction-major (index m·D + k) where a vector of P' = F·D is needed; weights are W (K, D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.base import Model


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearModel(Model):
    """Shapes of a linear model and its forward pass.

    Attributes:
        n_features: D, of the inputs: the constant 1 included, or their coordinates in `span`.
        basis: V (K, F) float64, that of the likelihood.
        span: orthonormal rows (D, d) in which the inputs are coordinates, or None where they are plain.
    """

    n_features: int
    basis: Tensor
    span: Tensor | None = None

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self.basis)

    @property
    def n_directions(self) -> int:
        """F, the directions of the outputs that the loss sees."""
        return self.basis.shape[1]

    @property
    def sees_all(self) -> bool:
        """Whether the loss sees every direction of the outputs; the basis is then the identity."""
        return self.n_directions == self.n_outputs

    @property
    def n_params(self) -> int:
        """P' = F·D, the parameters that the likelihood sees."""
        return self.n_directions * self.n_features

    @property
    def n_plain_features(self) -> int:
        """d, of the plain inputs."""
        return self.n_features if self.span is None else self.span.shape[1]

    @property
    def n_weights(self) -> int:
        """P = K·d."""
        return self.n_outputs * self.n_plain_features

    def initial(self, seed: int) -> Tensor:
        """0 (F, D), whatever the seed: the problem is convex."""
        return self.basis.new_zeros(self.n_directions, self.n_features)

    def outputs(self, params: Tensor, inputs: Tensor) -> Tensor:
        """z = W x (…, n, K) for every row of `inputs` (n, D); `params` is (…, F, D)."""
        directions = inputs @ params.mT
        return directions if self.sees_all else directions @ self.basis.to(directions.dtype).T

    def by_output(self, params: Tensor) -> Tensor:
        """V U: (…, F, D) to (…, K, D)."""
        return params if self.sees_all else torch.einsum("cm,...mk->...ck", self.basis.to(params.dtype), params)

    def weights(self, params: Tensor) -> Tensor:
        """W of the plain inputs, (…, F, D) to (…, K, d)."""
        return self.plain(self.by_output(params))

    def plain(self, vectors: Tensor) -> Tensor:
        """Vectors (…, D) as the plain inputs have them (…, d)."""
        return vectors if self.span is None else vectors @ self.span.to(vectors.dtype)
