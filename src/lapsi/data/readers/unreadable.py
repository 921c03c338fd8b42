"""What libraries raise on damaged files, as one line."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import pyarrow as pa
from safetensors import SafetensorError

from lapsi.data.readers.layouts import kind_of
from lapsi.errors import InputError

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    BadZipFile,
    zlib.error,
    pa.ArrowException,
    SafetensorError,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what libraries raise on a damaged file into one line.

    Raises:
        InputError: naming the file.
    """
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as {kind_of(path)} ({error}); is the file whole and of this kind?") from error
