"""Which files are written again as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lapsi.data.readers.arrow_files import ARROW
from lapsi.data.readers.layouts import kind_of
from lapsi.data.readers.shard_names import is_sparse_file
from lapsi.data.readers.torch_files import TENSORS
from lapsi.data.readers.whole_tables import WHOLE_TABLES
from lapsi.data.rewriting.archives import rewrite_npz
from lapsi.data.rewriting.arrays import rewrite_npy
from lapsi.data.rewriting.arrow_tables import rewrite_arrow
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.lines import rewrite_lines
from lapsi.data.rewriting.matrices import rewrite_sparse
from lapsi.data.rewriting.named import Named
from lapsi.data.rewriting.records import rewrite_jsonl
from lapsi.data.rewriting.tables import rewrite_table
from lapsi.data.rewriting.tensors import rewrite_safetensors
from lapsi.data.rewriting.torch_files import rewrite_tensors

REWRITERS: dict[str, Callable[[Path, Path, Named, Decided, Path], None]] = {
    ".npz": rewrite_npz,
    ".npy": rewrite_npy,
    ".jsonl": rewrite_jsonl,
    ".safetensors": rewrite_safetensors,
    **dict.fromkeys(TENSORS, rewrite_tensors),
    ".txt": rewrite_lines,
    **dict.fromkeys(WHOLE_TABLES, rewrite_table),
    **dict.fromkeys(ARROW, rewrite_arrow),
}


def rewrite(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """Writes a file of a kind of `REWRITERS` again, with what was decided in it.

    Names, types, their order, and what does not go by sample stay.

    Args:
        source, target: files of one kind.
        named: what the names inside it mean.
        decided: what becomes of the samples.
        folder: to which relative paths of images are to be.

    Raises:
        InputError: when a new label cannot be written as the file has them.
    """
    rewriter = rewrite_sparse if is_sparse_file(source) else REWRITERS[kind_of(source)]
    rewriter(source, target, named, decided, folder)
