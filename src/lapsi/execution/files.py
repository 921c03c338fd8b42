"""Files, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from lapsi.errors import InputError, RunExistsError

MARKER = "run.json"  # what makes a directory a run
LONGEST_NAME = 241  # bytes: 255 on the usual file systems, less what is added to a name until the file is whole


def holds_run(path: Path) -> bool:
    """Whether a directory holds a run of lapsi, and maybe more."""
    try:
        return "data_hash" in json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def require_name(path: Path) -> None:
    """Refuses a name that cannot be written.

    Raises:
        InputError: for one that is no text or too long.
    """
    shown = str(path).encode("utf-8", "replace").decode()
    if shown != str(path):
        raise InputError(f"{shown} is no text in UTF-8; choose another path.")
    size = len(path.name.encode())
    if size > LONGEST_NAME:
        raise InputError(f"{path.name[:20]}… has {size} bytes; expected a name of at most {LONGEST_NAME}.")


def write_file(path: Path, write: Callable[[Path], object], force: bool) -> None:
    """Writes a file beside `path` by `write`, then renames it to `path` in one step.

    Raises:
        RunExistsError, InputError: as `require_file_free`.
    """
    require_file_free(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as staging:
        content = Path(staging) / path.name
        write(content)
        sync(content)
        content.replace(path)


def require_file_free(path: Path, force: bool) -> None:
    """Refuses the path of a file before any work starts.

    Raises:
        RunExistsError: when it is a directory, or the file exists and `force` is not set.
        InputError: when the name, or the folder above, cannot be written.
    """
    require_name(path)
    if path.is_dir():
        raise RunExistsError(f"{path} is a directory; expected the name of a file to write.")
    require_writable(path.absolute().parent)
    if path.exists() and not force:
        raise RunExistsError(f"{path} exists already; choose another path, or overwrite it with --force.")


def require_writable(folder: Path) -> None:
    """Refuses a folder, or where there is none yet that above it, before any work starts.

    Raises:
        InputError: when nothing can be written there.
    """
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Nothing can be written below {folder}: it is no directory or not writable; choose another path.")


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
