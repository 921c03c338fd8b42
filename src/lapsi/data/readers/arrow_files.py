"""Tables in files of Apache Arrow: Feather, and the streams that data sets are saved as."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

ARROW = (".feather", ".arrow")
MAGIC = b"ARROW1"  # files begin with it


def read_arrow(path: Path) -> pa.Table:
    """The table of a file, mapped from there.

    Raises:
        OSError, pa.ArrowException: when it cannot be read as such.
    """
    with pa.memory_map(str(path)) as file:
        return (pa.ipc.open_stream if is_stream(path) else pa.ipc.open_file)(file).read_all()


def is_stream(path: Path) -> bool:
    """Whether it is a stream, not a file with a table of its batches at the end."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) != MAGIC
