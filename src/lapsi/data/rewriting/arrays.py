"""The array of a .npy file, written again: features, or labels and what else stands in a file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lapsi.data.readers.mapped import load_npy
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named

BLOCK = 2**26  # bytes


def rewrite_npy(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The rows that stay, in their type; so many at a time that a large file is never whole in memory."""
    held = decided.written(load_npy(source, mapped=True))
    shape = (len(decided.kept), *held.shape[1:])
    described = {"descr": np.lib.format.dtype_to_descr(held.dtype), "fortran_order": False, "shape": shape}
    n_blocks = 1 + int(np.prod(shape)) * held.itemsize // BLOCK
    with target.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, described)
        for rows in np.array_split(decided.kept, n_blocks):
            file.write(held[rows].tobytes())
