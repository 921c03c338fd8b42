"""Run directories, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lapsi.errors import InputError, RunExistsError

MARKER = "run.json"
PROGRESS = "progress.json"
LEFT_OUT, PICTURE = "left_out.csv", "overview.png"
FILES = {MARKER, "scores.parquet", "loo_proba.npy", "trajectory.parquet", "map.npy", LEFT_OUT, PICTURE}


def require_free(path: Path, force: bool) -> None:
    """Refuses a taken path before any work starts.

    Raises:
        RunExistsError: when something is there and `force` is not set, or when it holds anything but a run of lapsi.
        InputError: when the folder above cannot be written.
    """
    if (not path.exists() and not path.is_symlink()) or _is_empty(path):
        _require_writable(path.absolute().parent)
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
    """Whether a directory holds a run of lapsi and nothing else."""
    try:
        record = json.loads((path / MARKER).read_text(encoding="utf-8"))
        return "data_hash" in record and {file.name for file in path.iterdir()} <= FILES
    except (OSError, ValueError, TypeError):
        return False


def _require_writable(folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"Nothing can be written below {folder}: it is no directory or not writable; choose another path.")


def unfinished_path(run: Path) -> Path:
    """Where the finished parts of a run are kept until it is whole."""
    run = run.absolute()
    if not run.name or run.name == "..":
        raise InputError(f"{run} cannot be a run directory; expected a path that ends in a name.")
    return run.with_name(f"{run.name}.partial")


def require_run(path: Path) -> None:
    """Refuses a path that holds no run.

    Raises:
        InputError: saying what is there instead.
    """
    if not (path / MARKER).is_file():
        if path.name and (unfinished_path(path) / PROGRESS).is_file():
            raise InputError(f"{path} is not finished; go on with 'lapsi score --resume {path}'.")
        state = "holds no run (no run.json)" if path.is_dir() else "is no directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; expected a directory written by 'lapsi score' or Scores.save().")


def write_directory(path: Path, write: Callable[[Path], object], force: bool) -> None:
    """Fills a hidden directory beside `path` by `write`, then renames it to `path` in one step.

    A kill at any moment leaves the old run, or none, at `path`: never half of one.

    Raises:
        RunExistsError: as `require_free`.
    """
    require_free(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        content = staging / "run"
        content.mkdir()
        write(content)
        for file in content.iterdir():
            _sync(file)
        _sync(content)
        require_free(path, force)
        _swap(content, path, staging / "old")
        _sync(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(content: Path, path: Path, aside: Path) -> None:
    """Moves `content` to `path`; what stood there comes back if that fails."""
    replaces = path.exists()
    if replaces:
        path.rename(aside)
    try:
        content.rename(path)
    except OSError:
        if replaces:
            aside.rename(path)
        raise


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
        _sync(content)
        content.replace(path)


def require_file_free(path: Path, force: bool) -> None:
    """Refuses the path of a file before any work starts.

    Raises:
        RunExistsError: when it is a directory, or the file exists and `force` is not set.
        InputError: when the folder above cannot be written.
    """
    if path.is_dir():
        raise RunExistsError(f"{path} is a directory; expected the name of a file to write.")
    _require_writable(path.absolute().parent)
    if path.exists() and not force:
        raise RunExistsError(f"{path} exists already; choose another path, or overwrite it with --force.")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
