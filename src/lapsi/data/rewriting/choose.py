"""Which files are written again as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lapsi.data.readers.columns import Columns
from lapsi.data.rewriting.archives import rewrite_npz
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.records import rewrite_jsonl
from lapsi.data.rewriting.tensors import rewrite_safetensors

REWRITERS: dict[str, Callable[[Path, Path, Columns, Decided, Path], None]] = {
    ".npz": rewrite_npz,
    ".jsonl": rewrite_jsonl,
    ".safetensors": rewrite_safetensors,
}


def rewrite(source: Path, target: Path, columns: Columns, decided: Decided, folder: Path) -> None:
    """Writes a file of a kind of `REWRITTEN` again, with what was decided in it.

    Names, types, their order, and what does not go by sample stay.

    Args:
        source, target: files of one kind.
        columns: names inside it.
        decided: what becomes of the samples.
        folder: to which relative paths of images are to be.

    Raises:
        InputError: when a new label cannot be written as the file has them.
    """
    REWRITERS[source.suffix.lower()](source, target, columns, decided, folder)
