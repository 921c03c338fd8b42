"""Sparse features, e.g. tf-idf, in few dense dimensions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.decomposition import TruncatedSVD

from lapsi.data.tables.column import FEATURE, TableColumn
from lapsi.errors import InputError

DIMENSIONS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A sparse matrix (N, d) in few dense dimensions.

    Attributes:
        features: (N, k).
        column: what became of it.
        digest: a hash of what it holds; "" where the features are all of that.
        svd: through which it went; None where it is as it was.
    """

    features: np.ndarray
    column: TableColumn
    digest: str
    svd: TruncatedSVD | None


def is_sparse(value: Any) -> bool:
    """Whether an object is a sparse matrix or array of scipy."""
    return issparse(value)


def reduced(matrix: Any) -> Reduced:
    """The features of a sparse matrix (N, d).

    At most `DIMENSIONS` columns stay as they are; more go through a truncated SVD (Halko, Martinsson and Tropp 2011).

    Raises:
        InputError: when it holds something else than finite numbers.
    """
    rows = matrix.tocsr()
    rows.sum_duplicates()
    if rows.dtype.kind not in "fiub" or not np.isfinite(rows.data).all():
        raise InputError(f"The sparse features are {rows.dtype} or not all finite; expected finite real numbers.")
    n, d = rows.shape
    share = f"{rows.nnz / max(1, n * d):.2%}"
    if d <= DIMENSIONS:
        became = f"sparse, {n:,} × {d:,}, {share} not zero: as it is"
        return Reduced(rows.toarray(), TableColumn("features", FEATURE, became, d), "", None)
    k = max(1, min(DIMENSIONS, n - 1, d - 1))
    svd = TruncatedSVD(k, random_state=0)
    found = svd.fit_transform(rows.astype(np.float64))
    became = (
        f"sparse, {n:,} × {d:,}, {share} not zero: SVD of {k} dimensions, {svd.explained_variance_ratio_.sum():.0%} of the "
        "variance"
    )
    digest = hashlib.blake2b(repr((rows.shape, k)).encode(), digest_size=16)
    for part in (rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data.astype(np.float64)):
        digest.update(np.ascontiguousarray(part).data)
    return Reduced(found, TableColumn("features", FEATURE, became, k), digest.hexdigest(), svd)


def reduced_alike(svd: TruncatedSVD | None, rows: Any) -> np.ndarray:
    """Features (n, k) of other rows (n, d), sparse or not, by the SVD of a sparse matrix before; None: as they are."""
    if svd is not None:
        return np.asarray(svd.transform(rows))
    return np.asarray(rows.toarray() if is_sparse(rows) else rows)
