"""Room on a file system: what is free, refusing what will not fit, and one line where it ran out all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lapsi.errors import DiskFullError, LapsiError

FULL = (errno.ENOSPC, errno.EDQUOT)
NEARLY_NOTHING = 2**20  # bytes: what a failing write leaves of a file system that is full


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """While `path` is written: where its file system is full, that is said in one line.

    Raises:
        DiskFullError: in place of what libraries raise.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, LapsiError) or not _is_full(error, path):
            raise
        free = in_words(free_bytes(path))
        raise DiskFullError(
            f"{path} was not written: the disk of {_standing(path)} is full ({free} free). Free some space."
        ) from error


def require_room(path: Path, needed: int, what: str) -> None:
    """Refuses work whose files would not fit, before it starts.

    Args:
        path: where they are to lie; it need not be there yet.
        needed: bytes.
        what: is written, in words.

    Raises:
        DiskFullError: with the numbers.
    """
    free = free_bytes(path)
    if needed > free:
        raise DiskFullError(
            f"{what} need about {in_words(needed)}, but the disk of {_standing(path)} has {in_words(free)} free. Free some "
            "space, or choose another place."
        )


def free_bytes(path: Path) -> int:
    """What may be written on the file system where a path is, or would be."""
    return shutil.disk_usage(_standing(path)).free


def in_words(size: int) -> str:
    """Bytes in the unit that fits."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 2**power:
            return f"{size / 2**power:.1f} {unit}"
    return f"{size} bytes"


def _standing(path: Path) -> Path:
    """The folder that a path is in, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _is_full(error: OSError, path: Path) -> bool:
    """Whether that is why; NumPy tells no reason where it wrote less than it should."""
    return error.errno in FULL or (error.errno is None and free_bytes(path) < NEARLY_NOTHING)
