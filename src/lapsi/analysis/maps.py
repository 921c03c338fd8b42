"""Where samples lie on the first two principal components of their features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from lapsi.data.dataset import Standardizer

MAP_ROWS = 8192
DENSE_MAP = 4096  # features up to which their products fit into little memory


def principal_map(features: np.ndarray, standardizer: Standardizer) -> np.ndarray:
    """(N, 2) float32: standardized features (N, d) on their first two principal components; 0 where d is 1.

    The sign of each component is that of its largest entry, so that the same data give the same map.
    """
    d = features.shape[1]
    starts = range(0, len(features), MAP_ROWS)
    mean = sum(standardizer.inputs(features[start : start + MAP_ROWS])[:, :-1].sum(0) for start in starts) / len(features)

    def blocks() -> Iterator[np.ndarray]:
        for start in starts:
            yield standardizer.inputs(features[start : start + MAP_ROWS])[:, :-1] - mean

    def scatter(vectors: np.ndarray) -> np.ndarray:
        return sum((inputs.T @ (inputs @ vectors) for inputs in blocks()), np.zeros_like(vectors, dtype=np.float64))

    n_axes = min(2, d)
    if d <= DENSE_MAP:
        whole = sum((inputs.T @ inputs for inputs in blocks()), np.zeros((d, d)))
        vectors = scipy.linalg.eigh(whole, subset_by_index=[d - n_axes, d - 1])[1][:, ::-1]
    else:
        operator = LinearOperator((d, d), matvec=scatter, matmat=scatter, dtype=np.float64)
        vectors = eigsh(operator, k=n_axes, v0=np.ones(d), tol=1e-3)[1][:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    axes = np.zeros((d, 2))
    axes[:, :n_axes] = vectors * np.where(largest < 0, -1.0, 1.0)
    return np.concatenate([inputs @ axes for inputs in blocks()]).astype(np.float32)
