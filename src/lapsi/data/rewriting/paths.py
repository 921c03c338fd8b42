"""Paths of images in a file, when the file moves to another folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def mover(before: Path, after: Path) -> Callable[[Any], Any]:
    """Makes of a path that is relative to one folder the same to another; absolute ones, and what is no path, stay."""
    start, end = before.resolve(), after.resolve()

    def moved(value: Any) -> Any:
        if start == end or not isinstance(value, str) or not value.strip() or os.path.isabs(value):
            return value
        return Path(os.path.relpath(start / value, end)).as_posix()

    return moved
