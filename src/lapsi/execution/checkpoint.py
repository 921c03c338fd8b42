"""Unfinished work that survives: a directory of finished parts, each written whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock, Timeout

from lapsi.errors import InputError, RunExistsError, first_line
from lapsi.execution.disk import require_room
from lapsi.execution.files import PROGRESS, write_file

LOCK = ".lock"
OURS = re.compile(r"(seed\d+|corrected|converged|highest\d+|refined|mended)-part\d+\.npz|\..*\.tmp")
IN_WORDS = {
    "data": "the data have changed (features, labels or ids)",
    "weights": "the module has other weights",
    "outputs": "what the module makes of the data, their targets, weights or ids have changed",
    "rows": "other samples are to be scored",
}
UNREADABLE = (OSError, ValueError, EOFError, BadZipFile, NotImplementedError, RuntimeError, zlib.error)
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Hold:
    """A directory of finished parts in which no other process works, until it is released.

    Attributes:
        path: the directory.
        lock: the system frees it when the process ends in any way.
    """

    path: Path
    lock: FileLock

    def release(self) -> None:
        """Lets other processes work in the directory; where no work is kept, it is gone."""
        if not (self.path / PROGRESS).exists():
            with suppress(OSError):  # other people's files stay, and the directory with them
                (self.path / LOCK).unlink()
                self.path.rmdir()
        self.lock.release()


@dataclass(frozen=True, slots=True)
class Keep:
    """Where finished parts are to be kept.

    Attributes:
        path: the directory.
        call: what the caller wants to find again there, plain JSON values.
        restart: throw finished parts away that are there already.
        hold: of the directory, where the caller has it; it stays the caller's.
        beside: whether the run, too, is written beside it when all is done.
    """

    path: Path
    call: dict[str, Any]
    restart: bool = False
    hold: Hold | None = None
    beside: bool = False

    def require_room(self, parts_bytes: int, run_bytes: int) -> None:
        """Refuses work whose parts, and run where that is written beside them, would not fit.

        Raises:
            DiskFullError: with the numbers.
        """
        there = sum(file.stat().st_size for file in self.path.glob("*-part*.npz"))  # kept, or thrown away
        what = "The finished parts of this run, and the run itself," if self.beside else "The finished parts of this run"
        require_room(self.path, max(0, parts_bytes - there) + (run_bytes if self.beside else 0), what)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Finished parts of a run, by name.

    Attributes:
        path: the directory, or None where they are not kept.
        plan: what must be the same when the work goes on, as it was when it began.
        hold: of the directory, where it ends with this.
    """

    path: Path | None
    plan: dict[str, Any]
    hold: Hold | None = None

    def release(self) -> None:
        """Lets other processes work in the directory."""
        if self.hold is not None:
            self.hold.release()

    def has(self, name: str) -> bool:
        """Whether a part is finished."""
        return self.path is not None and (self.path / f"{name}.npz").exists()

    def load(self, name: str) -> Arrays:
        """The arrays of a finished part.

        Raises:
            InputError: when its file is damaged.
        """
        assert self.path is not None
        file = self.path / f"{name}.npz"
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except UNREADABLE as error:
            raise self.damaged(name, first_line(error)) from error

    def damaged(self, name: str, reason: str) -> InputError:
        """The error for a part that cannot be used."""
        assert self.path is not None
        return InputError(f"{self.path / name}.npz is damaged ({reason}); delete it, and its part is computed again.")

    def save(self, name: str, arrays: Arrays) -> None:
        """Keeps a finished part, where there is a directory for it."""
        if self.path is not None:
            write_file(self.path / f"{name}.npz", lambda path: np.savez(path, **arrays), force=True)  # type: ignore[arg-type]


def open_checkpoint(keep: Keep | None, identity: dict[str, Any], plan: dict[str, Any]) -> Checkpoint:
    """A new checkpoint, or one that was begun with the same identity.

    Args:
        keep: where; None keeps no parts.
        identity: data and settings, plain JSON values; work goes on only where they are the same.
        plan: of a new checkpoint; one that was begun keeps its own.

    Raises:
        InputError: when the directory holds parts of other data or settings, with the differences, or something else.
        RunExistsError: when another process works on it.
    """
    if keep is None:
        return Checkpoint(None, plan)
    own = hold(keep.path) if keep.hold is None else None
    checkpoint = Checkpoint(keep.path, plan, hold=own)
    with ExitStack() as failing:
        failing.callback(checkpoint.release)
        checkpoint = replace(checkpoint, plan=_begun(keep, identity, plan))
        failing.pop_all()
    return checkpoint


def hold(path: Path) -> Hold:
    """Keeps other processes out of a directory of finished parts; it is made where there is none.

    Raises:
        InputError: when it holds something else.
        RunExistsError: when another process works in it.
    """
    ours = read_progress(path) is not None or not path.exists() or (path.is_dir() and all(map(_is_ours, path.iterdir())))
    if not ours:
        raise InputError(f"{path} holds other things than an unfinished run; choose another directory.")
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, FileNotFoundError):  # the other one removes the directory just now
        raise RunExistsError(f"Another process works on {path} just now; wait for it, or choose another path.") from None
    return Hold(path, lock)


def _begun(keep: Keep, identity: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """The plan of the work that was begun in the directory, or of new work."""
    record = None if keep.restart else read_progress(keep.path)
    lines = [] if record is None else differences(record["identity"], json.loads(json.dumps(identity)))
    if lines and has_parts(keep.path):
        raise InputError(
            f"{keep.path} was begun with other data or settings: {'; '.join(lines)}. Use the same, or another directory."
        )
    if record is None or lines:
        _clear(keep.path)
        _write_json(keep.path / PROGRESS, {"identity": identity, "plan": plan, "call": keep.call})
        return plan
    began: dict[str, Any] = record["plan"]
    return began


def _write_json(path: Path, record: dict[str, Any]) -> None:
    def write(file: Path) -> None:
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    write_file(path, write, force=False)


def read_progress(path: Path) -> dict[str, Any] | None:
    """What was written when the work began, or None where none was.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        record: dict[str, Any] = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
        if not all(isinstance(record.get(name), dict) for name in ("identity", "plan", "call")):
            raise ValueError("it lacks entries")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path / PROGRESS} cannot be read ({error}); delete {path} and start again.") from error


def remove_checkpoint(path: Path) -> None:
    """Deletes the parts of a checkpoint that is held; files that are not ours stay."""
    if read_progress(path) is not None:
        _clear(path)


def has_parts(path: Path) -> bool:
    """Whether any part of the run that was begun at `path` is finished."""
    return any(path.glob("*-part*.npz"))


def _clear(path: Path) -> None:
    """Deletes our files but the lock; the marker goes last, so that a kill leaves what is still known as a checkpoint."""
    for file in filter(_is_ours, list(path.iterdir())):
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in (PROGRESS, LOCK):
            file.unlink()
    (path / PROGRESS).unlink(missing_ok=True)


def _is_ours(file: Path) -> bool:
    return file.name in (PROGRESS, LOCK) or bool(OURS.fullmatch(file.name))


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for each value that differs, e.g. "recipe.learning_rate was 0.04, now 0.1"."""
    lines = []
    for name in before | after:
        old, new = before.get(name), after.get(name)
        if name in IN_WORDS:
            lines += [IN_WORDS[name]] if old != new else []
        elif isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name} was {old!r}, now {new!r}")
    return lines
