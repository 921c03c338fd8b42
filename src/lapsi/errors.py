"""The errors lapsi raises on purpose.

Every message says what was got, what was expected and what to do. `exit_code` is what the command line returns.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LapsiError(Exception):
    """Base of all errors that lapsi raises on purpose."""

    exit_code = 1


class InputError(LapsiError, ValueError):
    """The data or a setting cannot be used as given."""

    exit_code = 2


class RunExistsError(LapsiError, FileExistsError):
    """The output path is taken and nothing was overwritten."""

    exit_code = 3


class ConvergenceError(LapsiError, ArithmeticError):
    """An optimisation did not reach its tolerance, so no score would mean anything."""

    exit_code = 4


class MemoryLimitError(LapsiError, MemoryError):
    """The work does not fit into the memory limit; raised before any work starts."""

    exit_code = 5


class DiskFullError(LapsiError, OSError):
    """A file system has, or would have, no room for what is to be written."""

    exit_code = 2


class BackendError(LapsiError, RuntimeError):
    """The machines that do the work are gone, or cannot do it."""

    exit_code = 1


def first_line(error: Exception) -> str:
    """What an error of another library says, cut to one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def meant(asked: str, names: Iterable[str]) -> str:
    """A question about names that are near, or ""."""
    lower = {name.lower(): name for name in names}
    near = [lower[name] for name in get_close_matches(asked.lower(), lower, n=3)]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
