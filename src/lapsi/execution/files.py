"""Run directories and files, written whole or not at all, and never over what another process wrote."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from lapsi.errors import InputError, RunExistsError

MARKER = "run.json"
PROGRESS = "progress.json"
LEFT_OUT, PICTURE = "left_out.csv", "overview.png"
SHOWN_OF_NAME = 40  # characters of a name that stand in that of its staging directory, which must not grow too long
FILES = {MARKER, "scores.parquet", "loo_proba.npy", "trajectory.parquet", "map.npy", LEFT_OUT, PICTURE}


def require_free(path: Path, force: bool) -> None:
    """Refuses a taken path before any work starts.

    Raises:
        RunExistsError: when something is there and `force` is not set, or when it holds anything but a run of lapsi.
        InputError: when the folder above cannot be written.
    """
    if not _is_taken(path) or _is_empty(path):
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


def _is_taken(path: Path) -> bool:
    """Whether anything is there, a link to nothing among it.

    Raises:
        InputError: when nothing can be there, e.g. since the name is too long.
    """
    try:
        path.lstat()
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be looked at ({reason}); choose another path.") from error


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
    if not _is_taken(path) or not (path / MARKER).is_file():
        if path.name and (unfinished_path(path) / PROGRESS).is_file():
            raise InputError(f"{path} is not finished; go on with 'lapsi score --resume {path}'.")
        state = "holds no run (no run.json)" if path.is_dir() else "is no directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; expected a directory written by 'lapsi score' or Scores.save().")


def write_directory(path: Path, write: Callable[[Path], object], force: bool) -> None:
    """Fills a hidden directory beside `path` by `write`, then renames it to `path` in one step.

    A kill at any moment leaves the old run, or none, at `path`: never half of one. Of several processes that write to one path
    without `force` one wins, and the others are told so.

    Raises:
        RunExistsError: as `require_free`.
    """
    require_free(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=_hidden(path), suffix=".tmp", dir=path.parent))
    try:
        content = staging / "run"
        content.mkdir()
        write(content)
        for file in content.iterdir():
            _sync(file)
        _sync(content)
        require_free(path, force)
        _swap(content, path, staging / "old", force)
        with suppress(OSError):  # the run is in place; a power cut might still undo that
            _sync(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(content: Path, path: Path, aside: Path, force: bool) -> None:
    """Moves `content` to `path`, without `force` only over an empty directory; what stood there comes back where that fails."""
    if force and path.exists():
        path.rename(aside)
    try:
        content.rename(path)
    except OSError as error:
        if not path.exists() and aside.exists():
            aside.rename(path)
        elif _is_taken(path) and not _is_empty(path):
            raise RunExistsError(
                f"{path} was written by another process in the meantime; choose another path, or overwrite it with --force."
            ) from error
        raise


def write_file(path: Path, write: Callable[[Path], object], force: bool) -> None:
    """Writes a file beside `path` by `write`, then gives it its name in one step.

    Raises:
        RunExistsError, InputError: as `require_file_free`.
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
    """
    for path in paths:
        require_file_free(path, force)
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    staged = tempfile.TemporaryDirectory(prefix=_hidden(paths[0]), suffix=".tmp", dir=folder, ignore_cleanup_errors=True)
    with staged as staging:
        contents = [Path(staging) / path.name for path in paths]
        write(*contents)
        for content in contents:
            _sync(content)
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
        InputError: when the folder above cannot be written.
    """
    taken = _is_taken(path)
    if path.is_dir():
        raise RunExistsError(f"{path} is a directory; expected the name of a file to write.")
    _require_writable(path.absolute().parent)
    if taken and not force:
        raise _file_exists(path)


def _hidden(path: Path) -> str:
    """How the name of the hidden directory beside a path begins."""
    return f".{path.name[:SHOWN_OF_NAME]}."


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
