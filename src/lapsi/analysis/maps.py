"""Where samples lie on the first two principal components of the inputs of the model."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import svds

from lapsi.data.blocks import Survey
from lapsi.data.standardize import Standardizer


def principal_axes(features: Survey, standardizer: Standardizer) -> np.ndarray:
    """(d, 2) the first two principal axes of the standardized features; 0 for the second where d is 1.

    The sign of each axis is that of its largest entry, so that the same data give the same map. Where there are too many
    features to multiply with each other, the axes are those of some of the rows.
    """
    d, scale = len(features.mean), standardizer.scale
    n_axes = min(2, d)
    if features.scatter is not None:
        scatter = features.scatter * np.outer(scale, scale)
        vectors = scipy.linalg.eigh(scatter, subset_by_index=[d - n_axes, d - 1])[1][:, ::-1]
    else:
        assert features.sample is not None
        vectors = _first_directions(features.sample * scale, n_axes)
    return _signed(vectors)


def centre_of(features: Survey, standardizer: Standardizer) -> np.ndarray:
    """(d,) the mean of the standardized features."""
    return (features.mean - standardizer.mean) * standardizer.scale


def principal_map(rows: np.ndarray) -> np.ndarray:
    """(n, 2) float32: where rows (n, d) lie on their own first two principal axes, signs as in `principal_axes`."""
    deviations = rows - rows.mean(0)
    d = rows.shape[1]
    n_axes = min(2, d)
    vectors = scipy.linalg.eigh(deviations.T @ deviations, subset_by_index=[d - n_axes, d - 1])[1][:, ::-1]
    return np.asarray(deviations @ _signed(vectors), np.float32)


def _signed(vectors: np.ndarray) -> np.ndarray:
    """(d, 2) axes (d, ≤ 2) whose largest entry is positive, 0 for one that is not there."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    axes = np.zeros((len(vectors), 2))
    axes[:, : vectors.shape[1]] = vectors * np.where(largest < 0, -1.0, 1.0)
    return axes


def _first_directions(rows: np.ndarray, n_axes: int) -> np.ndarray:
    """(d, ≤ n_axes) the first right singular vectors of a few wide rows (k, d)."""
    if min(rows.shape) <= n_axes + 1:
        return scipy.linalg.svd(rows, full_matrices=False)[2][:n_axes].T
    return svds(rows, k=n_axes, v0=np.ones(min(rows.shape)))[2][::-1].T
