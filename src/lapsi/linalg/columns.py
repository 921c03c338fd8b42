"""A matrix of the parameters by the column blocks of its outputs, and what the closed form needs of it.

Legend of the indices: n sample, s output of its support, b output, p one of the outputs nearest to it, k l feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul

NO_OUTPUT = -1  # in a support that has fewer outputs than others


class Columns(ABC):
    """A matrix (K·D, K·D), its column blocks whole or in part."""

    @abstractmethod
    def times(self, vectors: Tensor, support: Tensor) -> Tensor:
        """Σ_s column block of support[n, s] · vectors[n, s] (n, K, D) float32, for vectors (n, s, D); none of `NO_OUTPUT`."""

    @abstractmethod
    def forms(self, inputs: Tensor, support: Tensor) -> Tensor:
        """x_nᵀ M_ss' x_n (n, s, s) between the outputs of each support, float64, made symmetric."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalColumns(Columns):
    """Column blocks over the outputs nearest to their own, and 0 beyond them.

    Attributes:
        nearest: (K, p) outputs.
        columns: (K, p, D, D) float32: block p of the column of b.
    """

    nearest: Tensor
    columns: Tensor

    def times(self, vectors: Tensor, support: Tensor) -> Tensor:
        vectors, n_outputs = vectors.to(self.columns.dtype), len(self.nearest)
        total = vectors.new_zeros(len(vectors) * n_outputs, self.columns.shape[2])
        for output, rows, places in by_output(support):
            at = (n_outputs * rows[:, None] + self.nearest[output]).flatten()
            total.index_add_(0, at, self._product(output, vectors[rows, places]).flatten(0, 1))
        return total.view(len(vectors), n_outputs, -1)

    def forms(self, inputs: Tensor, support: Tensor) -> Tensor:
        n, size = support.shape
        found = torch.zeros(n, size, size, dtype=torch.float64, device=inputs.device)
        vectors = inputs.to(self.columns.dtype)
        for output, rows, places in by_output(support):
            own = torch.einsum("npk,nk->np", self._product(output, vectors[rows]), vectors[rows]).double()
            match = support[rows][:, :, None] == self.nearest[output]
            found[rows, :, places] = torch.einsum("nsp,np->ns", match.double(), own)
        return 0.5 * (found + found.mT)

    def _product(self, output: int, vectors: Tensor) -> Tensor:
        """M[b] v (r, p, D) for vectors (r, D)."""
        block = self.columns[output]
        return matmul(vectors, block.flatten(0, 1).T).view(len(vectors), *block.shape[:2])


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseColumns(Columns):
    """The whole of a symmetric matrix.

    Attributes:
        matrix: (K, D, K, D) float32.
    """

    matrix: Tensor

    def times(self, vectors: Tensor, support: Tensor) -> Tensor:
        vectors, whole = vectors.to(self.matrix.dtype), self.matrix.flatten(2)
        total = vectors.new_zeros(len(vectors), whole.shape[2])
        for output, rows, places in by_output(support):
            total.index_add_(0, rows, matmul(vectors[rows, places], whole[output]))
        return total.view(len(vectors), *self.matrix.shape[2:])

    def forms(self, inputs: Tensor, support: Tensor) -> Tensor:
        n, size = support.shape
        found = torch.zeros(n, size, size, dtype=torch.float64, device=inputs.device)
        vectors = inputs.to(self.matrix.dtype)
        places = support.new_full((len(self.matrix), n), -1)
        places[support, torch.arange(n, device=support.device)[:, None]] = torch.arange(size, device=support.device)
        for first in support.unique().tolist():
            rows = torch.nonzero(places[first] >= 0).flatten()
            for second in support[rows].unique().tolist():
                if second <= first:
                    self._add_form((first, second), rows[places[second, rows] >= 0], places, vectors, found)
        return found

    def _add_form(self, pair: tuple[int, int], rows: Tensor, places: Tensor, vectors: Tensor, found: Tensor) -> None:
        """Writes x_nᵀ M_ab x_n of the samples `rows` that have both outputs a, b in their support."""
        first, second = pair
        own = vectors[rows]
        form = torch.einsum("nk,nk->n", matmul(own, self.matrix[first, :, second]), own).double()
        found[rows, places[first, rows], places[second, rows]] = form
        found[rows, places[second, rows], places[first, rows]] = form


def by_output(support: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For every output that a support (n, s) names: the samples, and where it stands in theirs."""
    flat = support.flatten()
    order = torch.argsort(flat, stable=True)
    outputs, counts = torch.unique_consecutive(flat[order], return_counts=True)
    for output, places in zip(outputs.tolist(), order.split(counts.tolist()), strict=True):
        if output != NO_OUTPUT:
            yield output, places // support.shape[1], places % support.shape[1]
