"""Where the gradients of a module's layers are taken: an orthonormal basis of each, U_out ⊗ U_in.

Whatever the basis is, the diagonal of the GGN is exact there; the nearer it is to the eigenbasis the less lies beside it. What
goes into a convolution of many channels is turned by channels and by offsets, U_in = U_c ⊗ U_s: a patch of c channels at s
offsets then costs s·c² + c·s² and not (c·s)².

Legend of the indices: n sample, t place, g group, o unit that comes out, k one that goes in, c channel, s offset of a patch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.errors import InputError
from lapsi.models.module.layers import EmbeddingLayer, Layer, ProductLayer

DENSE_WIDTH = 512  # of what goes into a convolution, beyond which it is turned by channels and offsets


class Turn(ABC):
    """An orthonormal matrix of each group; vectors are rows (…, g, m, d), m of each group."""

    @abstractmethod
    def __call__(self, vectors: Tensor) -> Tensor:
        """In the basis (…, g, m, d)."""

    @abstractmethod
    def back(self, vectors: Tensor) -> Tensor:
        """The inverse."""

    @property
    @abstractmethod
    def products(self) -> int:
        """Multiplications of a vector."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseTurn(Turn):
    """By its matrix.

    Attributes:
        matrix: (g, d, d), the basis in its columns.
    """

    matrix: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        return _times(vectors, self.matrix)

    def back(self, vectors: Tensor) -> Tensor:
        return _times(vectors, self.matrix.mT)

    @property
    def products(self) -> int:
        return self.matrix.shape[2] ** 2


@final
@dataclass(frozen=True, slots=True, eq=False)
class PatchTurn(Turn):
    """By channels and offsets, of patches (c·s, and the constant 1 where there is a bias, which stays).

    Attributes:
        channels: U_c (g, c, c).
        offsets: U_s (g, s, s).
    """

    channels: Tensor
    offsets: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        return self._by(vectors, self.channels, self.offsets)

    def back(self, vectors: Tensor) -> Tensor:
        return self._by(vectors, self.channels.mT, self.offsets.mT)

    @property
    def products(self) -> int:
        n_channels, n_offsets = self.channels.shape[2], self.offsets.shape[2]
        return n_channels * n_offsets * (n_channels + n_offsets)

    def _by(self, vectors: Tensor, channels: Tensor, offsets: Tensor) -> Tensor:
        n_channels, n_offsets = channels.shape[2], offsets.shape[2]
        width = n_channels * n_offsets
        patches = vectors[..., :width].unflatten(-1, (n_channels, n_offsets))
        by_offset = _times(patches.flatten(-3, -2), offsets).unflatten(-2, (-1, n_channels)).mT
        turned = _times(by_offset.flatten(-3, -2), channels).unflatten(-2, (-1, n_offsets)).mT.flatten(-2)
        return torch.cat([turned, vectors[..., width:]], -1) if vectors.shape[-1] > width else turned


@dataclass(frozen=True, slots=True, eq=False)
class LayerBasis:
    """That of a layer; None is the plain one.

    Attributes:
        outer: U_out, of what comes out.
        inner: U_in, of what goes in.
    """

    outer: Turn | None = None
    inner: Turn | None = None

    def inputs(self, inputs: Tensor) -> Tensor:
        """What goes in (n, T, g, k), in the basis."""
        return inputs if self.inner is None else _of_places(self.inner, inputs)

    def deltas(self, deltas: Tensor) -> Tensor:
        """δ (n, T, g, o), in the basis."""
        return deltas if self.outer is None else _of_places(self.outer, deltas)

    def out_of_deltas(self, moves: Tensor) -> Tensor:
        """What comes out (n, T, g, o), from the basis."""
        return moves if self.outer is None else self.outer.back(moves.transpose(1, 2)).transpose(1, 2)

    def into(self, layer: Layer, flat: Tensor) -> Tensor:
        """Vectors (…, P_l) of plain parameters, in the basis."""
        if not isinstance(layer, ProductLayer):
            return flat
        found = flat.unflatten(-1, layer.shape)
        found = found if self.inner is None else self.inner(found)
        return (found if self.outer is None else self.outer(found.mT).mT).flatten(-3)

    def out_of(self, layer: Layer, flat: Tensor) -> Tensor:
        """The inverse of `into`."""
        if not isinstance(layer, ProductLayer):
            return flat
        found = flat.unflatten(-1, layer.shape)
        found = found if self.inner is None else self.inner.back(found)
        return (found if self.outer is None else self.outer.back(found.mT).mT).flatten(-3)

    def turns_inputs(self, layer: ProductLayer, n_places: int, n_roots: int) -> bool:
        """Whether turning what goes in and comes back costs less than turning the gradients of some roots."""
        _, out, width = layer.shape
        inner, outer = (0 if side is None else side.products for side in (self.inner, self.outer))
        return n_places * (inner / n_roots + outer) <= out * inner + width * outer


Basis = tuple[LayerBasis, ...]


def plain_basis(layers: Sequence[Layer]) -> Basis:
    """That of the parameters themselves."""
    return (LayerBasis(),) * len(layers)


def turned(layers: Sequence[Layer], basis: Basis, vectors: Tensor, *, back: bool = False) -> Tensor:
    """Vectors (…, P) of plain parameters in a basis, or `back` from there."""
    parts = vectors.split([layer.n_params for layer in layers], -1)
    pairs = zip(layers, basis, parts, strict=True)
    return torch.cat([own.out_of(layer, part) if back else own.into(layer, part) for layer, own, part in pairs], -1)


@final
class Factors:
    """Sums of outer products, of which the eigenvectors are the basis of one layer."""

    def __init__(self, layer: ProductLayer) -> None:
        """Of a layer, without any sample. The inputs of embeddings are words, and stay so."""
        patches = layer.n_offsets > 1 and layer.shape[2] > DENSE_WIDTH
        self._n_offsets = layer.n_offsets if patches else 1
        self._keeps_inputs = isinstance(layer, EmbeddingLayer)
        self._outer: Tensor | None = None
        self._inner: list[Tensor] | None = None

    def add(self, inputs: Tensor, weights: Tensor, deltas: Sequence[Tensor]) -> None:
        """Of inputs (n, T, g, k) that count by weights (n, T), and of some δ (n, T, g, o)."""
        outer = torch.stack([_gram(each) for each in deltas]).sum(0)
        self._outer = outer if self._outer is None else self._outer + outer
        if self._keeps_inputs:
            return
        counted = inputs * weights.sqrt().to(inputs.dtype)[:, :, None, None]
        inner = [_gram(counted)] if self._n_offsets == 1 else self._of_patches(counted)
        self._inner = inner if self._inner is None else [sum_ + one for sum_, one in zip(self._inner, inner, strict=True)]

    def basis(self) -> LayerBasis:
        """The eigenvectors, float64."""
        assert self._outer is not None
        if not all(bool(factor.isfinite().all()) for factor in (self._outer, *(self._inner or ()))):
            raise InputError(
                "The curvature of a layer is not finite: what goes into it, or its gradients, are infinite or far too large. "
                "Look for such numbers in the inputs, and scale them."
            )
        outer = DenseTurn(torch.linalg.eigh(self._outer)[1])
        if self._inner is None:
            return LayerBasis(outer)
        inner = [torch.linalg.eigh(factor)[1] for factor in self._inner]
        return LayerBasis(outer, DenseTurn(*inner) if len(inner) == 1 else PatchTurn(*inner))

    def _of_patches(self, inputs: Tensor) -> list[Tensor]:
        """Of channels over all offsets, and of offsets over all channels."""
        n_channels = inputs.shape[3] // self._n_offsets
        patches = inputs[..., : n_channels * self._n_offsets].unflatten(-1, (n_channels, self._n_offsets))
        by_offset = patches.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (n, T·s, g, c)
        by_channel = patches.transpose(2, 3).flatten(1, 2)  # (n, T·c, g, s)
        return [_gram(by_offset), _gram(by_channel)]


def _gram(values: Tensor) -> Tensor:
    """Σ_n Σ_t v vᵀ (g, d, d) float64 of values (n, T, g, d), the products in their own dtype."""
    wide = values.transpose(0, 2).flatten(1, 2)
    return (wide.mT @ wide).double()


def _of_places(turn: Turn, values: Tensor) -> Tensor:
    """Values (n, T, g, d) in a basis."""
    return turn(values.transpose(1, 2)).transpose(1, 2)


def _times(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Vectors (…, g, m, d) times the matrix (d, d) of each group; of one group as one product."""
    matrix = matrix.to(vectors.dtype)
    return vectors @ matrix[0] if len(matrix) == 1 else vectors @ matrix
