"""An inverse Hessian by columns: for every output, exact among those that are most coupled to it, and 0 beyond them.

The column block of output b solves H[B, B] M = E_b for the outputs B nearest to b, itself first: one factorisation serves all
samples. The sparse approximate inverse of Benson and Frederickson (1982), by blocks.

Legend of the indices: n sample, s output of its support, b output, p one of the outputs nearest to it, k l feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

from lapsi.engines.local.blocks import Samples
from lapsi.linalg.matmul import matmul
from lapsi.training.krylov import float32_factor


@dataclass(frozen=True, slots=True, eq=False)
class LocalColumns:
    """A matrix of the parameters by column blocks, each over the outputs nearest to its own.

    Attributes:
        nearest: (K, p) outputs.
        columns: (K, p, D, D) float32: block p of the column of b.
    """

    nearest: Tensor
    columns: Tensor

    def times(self, vectors: Tensor, support: Tensor) -> Tensor:
        """Σ_s column block of support[n, s] · vectors[n, s] (n, K, D) float32, for vectors (n, s, D)."""
        vectors = vectors.to(self.columns.dtype)
        total = vectors.new_zeros(len(vectors), len(self.nearest), vectors.shape[2])
        for output, rows, places in _by_output(support):
            product = self._product(output, vectors[rows, places])
            total[rows[:, None], self.nearest[output]] += product
        return total

    def forms(self, inputs: Tensor, support: Tensor) -> Tensor:
        """x_nᵀ M_ss' x_n (n, s, s) between the outputs of each support, float64, made symmetric."""
        n, size = support.shape
        found = torch.zeros(n, size, size, dtype=torch.float64, device=inputs.device)
        vectors = inputs.to(self.columns.dtype)
        for output, rows, places in _by_output(support):
            own = torch.einsum("npk,nk->np", self._product(output, vectors[rows]), vectors[rows]).double()
            match = support[rows][:, :, None] == self.nearest[output]
            found[rows, :, places] = torch.einsum("nsp,np->ns", match.double(), own)
        return 0.5 * (found + found.mT)

    def _product(self, output: int, vectors: Tensor) -> Tensor:
        """M[b] v (r, p, D) for vectors (r, D)."""
        block = self.columns[output]
        return matmul(vectors, block.flatten(0, 1).T).view(len(vectors), *block.shape[:2])


def local_inverse(samples: Samples, nearest: Tensor, l2: float) -> LocalColumns:
    """The inverse of H at the L2 strength `l2`, in float32.

    Blocks of H are made once and let go of after their last use; so outputs are taken in an order that keeps near ones
    together.

    Raises:
        ConvergenceError: where a part of H is not positive definite in float32.
    """
    n_outputs, count = nearest.shape
    n_features = samples.inputs.shape[1]
    columns = samples.inputs.new_empty(n_outputs, count, n_features, n_features)
    order = _near_ones_together(nearest)
    last = {output: step for step, output in enumerate(order) for output in nearest[output].tolist()}
    blocks: dict[tuple[int, int], Tensor] = {}
    for step, output in enumerate(order):
        others = nearest[output].tolist()
        for first in others:
            _add_blocks(
                blocks, samples, first, [second for second in others if (min(first, second), max(first, second)) not in blocks]
            )
        matrix = torch.cat([torch.cat([blocks[min(a, b), max(a, b)] for b in others], 1) for a in others])
        matrix.diagonal().add_(l2)
        columns[output] = _first_columns(matrix, n_features).view(count, n_features, n_features)
        for pair in [pair for pair in blocks if min(last[pair[0]], last[pair[1]]) <= step]:
            del blocks[pair]
    return LocalColumns(nearest, columns)


def _add_blocks(blocks: dict[tuple[int, int], Tensor], samples: Samples, first: int, seconds: list[int]) -> None:
    if seconds:
        rows = samples.that_vary(first)
        coupling = samples.coupling(first, rows)
        for second in seconds:
            blocks[min(first, second), max(first, second)] = samples.block(rows, coupling[:, second])


def _first_columns(matrix: Tensor, count: int) -> Tensor:
    """The first columns (m, count) of the inverse of a matrix (m, m)."""
    unit = torch.zeros(len(matrix), count, dtype=matrix.dtype, device=matrix.device)
    unit[:count].fill_diagonal_(1.0)
    return torch.cholesky_solve(unit, float32_factor(matrix))


def _near_ones_together(nearest: Tensor) -> list[int]:
    """The outputs in an order of small bandwidth."""
    n_outputs, count = nearest.shape
    pairs = (np.repeat(np.arange(n_outputs), count), nearest.flatten().cpu().numpy())
    graph = csr_matrix((np.ones(len(pairs[0])), pairs), shape=(n_outputs, n_outputs))
    return reverse_cuthill_mckee(csr_matrix(graph + graph.T), symmetric_mode=True).tolist()


def _by_output(support: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For every output that a support (n, s) names: the samples, and where it stands in theirs."""
    flat = support.flatten()
    order = torch.argsort(flat, stable=True)
    outputs, counts = torch.unique_consecutive(flat[order], return_counts=True)
    for output, places in zip(outputs.tolist(), order.split(counts.tolist()), strict=True):
        yield output, places // support.shape[1], places % support.shape[1]
