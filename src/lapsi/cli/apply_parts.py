"""The files of a cleaned data set, written with the log of what was changed, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lapsi.data.writing import write_table
from lapsi.execution.files import write_files


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a cleaned data set.

    Attributes:
        source: what it is made from.
        path: where it is written.
        write: fills a file.
        told_as: the column of the log with its SHA-256.
    """

    source: Path
    path: Path
    write: Callable[[Path], object]
    told_as: str = "sha256"


def write_parts(log: pd.DataFrame, path: Path, parts: Sequence[Part], force: bool) -> None:
    """Writes the files, and to `path` the log, which names each by its SHA-256.

    Raises:
        RunExistsError, InputError, DiskFullError: as `write_files`.
    """

    def write(log_file: Path, *files: Path) -> None:
        digests = {}
        for part, file in zip(parts, files, strict=True):
            part.write(file)
            with file.open("rb") as content:
                digests[part.told_as] = hashlib.file_digest(content, "sha256").hexdigest()
        write_table(log.assign(**digests), log_file)

    # in this order: a cleaned data set never stands beside an older log
    write_files((path, *(part.path for part in parts)), write, force)
