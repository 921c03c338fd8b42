"""Run directories, written whole or not at all, and never over what another process wrote."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lapsi.errors import RunExistsError
from lapsi.execution.disk import told_when_full
from lapsi.execution.files import MARKER, exchange, require_name, require_writable, sync
from lapsi.results.record import read_json
from lapsi.results.run_files import FEATURES, MAP, NEIGHBOURS, NUMBERS, PROBABILITIES, ROWS, TRAJECTORY

LEFT_OUT, PICTURE = "left_out.csv", "overview.png"
FILES = {MARKER, ROWS, PROBABILITIES, NUMBERS, TRAJECTORY, MAP, NEIGHBOURS, FEATURES, LEFT_OUT, PICTURE}


def require_free(path: Path, force: bool) -> None:
    """Refuses a taken path before any work starts.

    Raises:
        RunExistsError: when something is there and `force` is not set, or when it holds anything but a run of lapsi.
        InputError: when the name, or the folder above, cannot be written.
    """
    require_name(path)
    if (not path.exists() and not path.is_symlink()) or _is_empty(path):
        require_writable(path.absolute().parent)
        return
    if not _is_run(path):
        raise RunExistsError(
            f"{path} exists and holds other things than a lapsi run, so it is never overwritten; choose another path."
        )
    if not force:
        raise RunExistsError(
            f"{path} holds a run already; choose another path, or overwrite it with --force (in Python force=True)."
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _is_run(path: Path) -> bool:
    """Whether a directory holds a run of lapsi and nothing else: files that every run may have, or that its run.json lists."""
    try:
        record = read_json(path / MARKER)
        listed = record.get("files", {})
        ours = FILES | set(listed) if isinstance(listed, dict) else FILES
        return "data_hash" in record and all(file.name in ours and file.is_file() for file in path.iterdir())
    except (OSError, ValueError):
        return False


def write_directory(path: Path, write: Callable[[Path], object], force: bool) -> None:
    """Fills a hidden directory beside `path` by `write`, then renames it to `path` in one step.

    A kill at any moment leaves the old run or the new one at `path`, or none where there was none: never half of one. (Where a
    system cannot let two folders change places, one that comes in that very moment leaves the old run beside it.) Of several
    processes that write to one path without `force` one wins, and the others are told so.

    Raises:
        RunExistsError: as `require_free`.
        DiskFullError: when there is no room.
    """
    require_free(path, force)
    with told_when_full(path):
        _write_whole(path, write, force)


def _write_whole(path: Path, write: Callable[[Path], object], force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        content = staging / "run"
        content.mkdir()
        write(content)
        for file in content.iterdir():
            sync(file)
        sync(content)
        require_free(path, force)
        _swap(content, path, staging / "old", force)
        with suppress(OSError):  # the run is in place; a power cut might still undo that
            sync(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(content: Path, path: Path, aside: Path, force: bool) -> None:
    """Moves `content` to `path`, without `force` only over an empty directory; what stood there comes back where that fails."""
    if force and path.exists():
        if exchange(content, path):
            return
        path.rename(aside)
    try:
        content.rename(path)
    except OSError as error:
        if not path.exists() and aside.exists():
            aside.rename(path)
        elif path.exists() and not _is_empty(path):
            raise RunExistsError(
                f"{path} was written by another process in the meantime; choose another path, or overwrite it with --force."
            ) from error
        raise
