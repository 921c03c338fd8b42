"""Files, written whole or not at all, and never over what another process wrote."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lapsi.errors import InputError, RunExistsError
from lapsi.execution.disk import told_when_full

MARKER = "run.json"  # what makes a directory a run
PROGRESS = "progress.json"  # what makes it one of unfinished parts
HERE, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
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
    """Writes a file beside `path` by `write`, then gives it its name in one step.

    Raises:
        RunExistsError, InputError, DiskFullError: as `write_files`.
    """
    write_files((path,), write, force)


def write_files(paths: tuple[Path, ...], write: Callable[..., object], force: bool) -> None:
    """Writes files of one folder that belong together: all of them are whole before the first gets its name.

    They get their names in the order given, so that a kill in between leaves the later ones as they were.

    Args:
        paths: the files.
        write: fills the files that it is given, one for each path and of the same name.
        force: overwrite files; without it a file that another process made in the meantime stays, and none of these appears.

    Raises:
        RunExistsError, InputError: as `require_file_free`.
        DiskFullError: when there is no room; none of them appears.
    """
    for path in paths:
        require_file_free(path, force)
    with told_when_full(paths[-1]):
        _write_whole(paths, write, force)


def _write_whole(paths: tuple[Path, ...], write: Callable[..., object], force: bool) -> None:
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".{paths[-1].name}."
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=".tmp", dir=folder, ignore_cleanup_errors=True) as staging:
        contents = [Path(staging) / path.name for path in paths]
        write(*contents)
        for content in contents:
            sync(content)
        if force:
            for content, path in zip(contents, paths, strict=True):
                content.replace(path)
        else:
            _place(contents, paths)


def _place(contents: list[Path], paths: tuple[Path, ...]) -> None:
    """Gives new files their names, all of them or none."""
    with ExitStack() as undo:
        for content, path in zip(contents, paths, strict=True):
            _create(content, path)
            undo.callback(path.unlink)
        undo.pop_all()


def _create(content: Path, path: Path) -> None:
    """Gives a file its name where no other has it, in one step."""
    try:
        os.link(content, path)
    except FileExistsError:
        raise _file_exists(path) from None
    except OSError:  # a file system without hard links
        _claim(content, path)


def _claim(content: Path, path: Path) -> None:
    """The same in two steps: an empty file holds the name until the whole one replaces it."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise _file_exists(path) from None
    with ExitStack() as undo:
        undo.callback(path.unlink)
        content.replace(path)
        undo.pop_all()


def _file_exists(path: Path) -> RunExistsError:
    return RunExistsError(f"{path} exists already; choose another path, or overwrite it with --force.")


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
    if not force and (path.exists() or path.is_symlink()):
        raise _file_exists(path)


def require_writable(folder: Path) -> None:
    """Refuses a folder, or where there is none yet that above it, before any work starts.

    Raises:
        InputError: when nothing can be written there.
    """
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Nothing can be written below {folder}: it is no directory or not writable; choose another path.")


def exchange(first: Path, second: Path) -> bool:
    """Two files or folders of one file system change places in one step; False where the system cannot do that."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform.startswith("linux") else None
    return rename is not None and rename(HERE, os.fsencode(first), HERE, os.fsencode(second), EXCHANGE) == 0


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
