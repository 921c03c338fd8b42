"""What a source may be called that is no file: known before anything is read."""

from __future__ import annotations

from pathlib import Path

from lapsi.data.readers.shard_names import shards_of
from lapsi.errors import InputError

HUB_PREFIX = "hf:"
DIGITS = "digits"
NAMES = ("cifar10", "cifar100", "imagenette", "imagewoof", "pneumonia", "imdb", DIGITS)  # what `catalog.NAMED` describes


def require_source(source: str) -> None:
    """Refuses a source that is not there.

    Raises:
        InputError: saying what was expected.
    """
    path = Path(source)
    if source.startswith(HUB_PREFIX) or source in NAMES or path.exists() or shards_of(source):
        return
    named = f"a file, shards, an image folder, a saved data set, hf:NAME, or one of {', '.join(NAMES)}"
    expected = "a file" if path.suffix else named
    raise InputError(f"{source} does not exist; expected {expected}.")
