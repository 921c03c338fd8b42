"""Where a run and its unfinished parts lie: told without reading any of it."""

from __future__ import annotations

from pathlib import Path

from lapsi.errors import InputError
from lapsi.execution.files import MARKER, PROGRESS


def unfinished_path(run: Path) -> Path:
    """Where the finished parts of a run are kept until it is whole."""
    run = run.absolute()
    if not run.name or run.name == "..":
        raise InputError(f"{run} cannot be a run directory; expected a path that ends in a name.")
    return run.with_name(f"{run.name}.partial")


def is_whole(run: Path) -> bool:
    """Whether a run that was begun and not cleared away was written all the same."""
    written, began = run / MARKER, unfinished_path(run) / PROGRESS
    return written.is_file() and began.is_file() and written.stat().st_mtime >= began.stat().st_mtime


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


def require_begun(run: Path) -> None:
    """Refuses to go on with a run of which nothing is kept.

    Raises:
        InputError: saying what is there instead.
    """
    if not (unfinished_path(run) / PROGRESS).exists():
        raise not_begun(run)


def not_begun(run: Path) -> InputError:
    """The error for a run of which nothing is kept."""
    state = "is finished" if (run / MARKER).is_file() else f"was not begun, or nothing of it was kept; start it with -o {run}"
    return InputError(f"There is nothing to go on with: {run} {state}.")
