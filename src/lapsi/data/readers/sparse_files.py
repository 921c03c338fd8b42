"""Sparse matrices in files of scipy (`scipy.sparse.save_npz`), one or several below each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lapsi.data.readers.unreadable import reading
from lapsi.errors import InputError


def read_matrix(paths: Sequence[Path], n_rows: int) -> Any:
    """The matrix (N, d) of a file, or those of several, one below the other.

    Nothing is made of it before its number of rows is known to be `n_rows`: what a damaged file promises takes no memory.

    Raises:
        InputError: when a file cannot be read as such, or has another width than the first; for another number of rows.
    """
    from scipy.sparse import vstack

    parts = [_load(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.shape[1] != parts[0].shape[1]:
            raise InputError(
                f"{path} has {part.shape[1]} features, {paths[0].name} has {parts[0].shape[1]}; expected as many in all shards."
            )
    found = sum(part.shape[0] for part in parts)
    if found != n_rows:
        raise InputError(f"There are {found} samples but {n_rows} labels; expected one for each sample.")
    return parts[0] if len(parts) == 1 else vstack(parts)


def _load(path: Path) -> Any:
    from scipy.sparse import load_npz

    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a sparse matrix of scipy.")
    with reading(path):
        matrix = load_npz(path)
        if matrix.ndim != 2:
            raise ValueError(f"it holds a sparse array of shape {matrix.shape}, not a matrix")
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)  # positions outside would be read from memory that is not its own
        return matrix
