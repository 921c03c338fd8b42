"""An inverse Hessian by columns: for every output, exact among those that are most coupled to it, and 0 beyond them.

The column block of output b solves H[B, B] M = E_b for the outputs B nearest to b, itself first: one factorisation serves all
samples. The sparse approximate inverse of Benson and Frederickson (1982), by blocks. Where B are all outputs it is the whole
inverse, and one factorisation gives it in the place of H.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

from lapsi.curvature.blocks import Samples
from lapsi.linalg.columns import Columns, DenseColumns, LocalColumns
from lapsi.linalg.sweep import invert_in_place
from lapsi.training.krylov import float32_factor, require_positive


def inverse_hessian(samples: Samples, nearest: Tensor, l2: float) -> Columns:
    """The inverse of H at the L2 strength `l2`, in float32: among the `nearest` (K, p) of each output, or whole.

    Raises:
        ConvergenceError: where a part of H is not positive definite in float32.
    """
    return dense_inverse(samples, l2) if nearest.shape[1] == len(nearest) else local_inverse(samples, nearest, l2)


def local_inverse(samples: Samples, nearest: Tensor, l2: float) -> LocalColumns:
    """The inverse among the outputs nearest to each.

    Blocks of H are made once and let go of after their last use; so outputs are taken in an order that keeps near ones
    together.
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
            missing = [second for second in others if (min(first, second), max(first, second)) not in blocks]
            for second, block in zip(missing, samples.blocks(first, missing), strict=True):
                blocks[min(first, second), max(first, second)] = block
        matrix = torch.cat([torch.cat([blocks[min(a, b), max(a, b)] for b in others], 1) for a in others])
        matrix.diagonal().add_(l2)
        columns[output] = _first_columns(matrix, n_features).view(count, n_features, n_features)
        for pair in [pair for pair in blocks if min(last[pair[0]], last[pair[1]]) <= step]:
            del blocks[pair]
    return LocalColumns(nearest, columns)


def dense_inverse(samples: Samples, l2: float) -> DenseColumns:
    """The whole inverse; no second matrix of its size is held."""
    n_outputs, n_features = samples.state.shape[0], samples.inputs.shape[1]
    matrix = samples.inputs.new_empty(n_outputs, n_features, n_outputs, n_features)
    for first in range(n_outputs):
        others = list(range(first, n_outputs))
        for second, block in zip(others, samples.blocks(first, others), strict=True):
            matrix[second, :, first] = block
    square = matrix.view(n_outputs * n_features, -1)
    square.diagonal().add_(l2)
    require_positive(not invert_in_place(square))
    return DenseColumns(matrix)


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
