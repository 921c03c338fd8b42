"""A sparse matrix in a file of scipy, written again."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from lapsi.data.readers.sparse_files import read_matrix
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named


def rewrite_sparse(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The rows that stay, in the format and the type of the matrix, packed as it was."""
    from scipy.sparse import save_npz

    matrix = read_matrix([source], decided.n_source)
    with ZipFile(source) as archive:
        is_packed = archive.infolist()[0].compress_type != ZIP_STORED
    with target.open("wb") as file:
        save_npz(file, matrix.tocsr()[decided.kept].asformat(matrix.format), compressed=is_packed)
