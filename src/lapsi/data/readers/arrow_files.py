"""Tables in files of Apache Arrow: Feather, and the streams that data sets are saved as."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

ARROW = (".feather", ".arrow")


def read_arrow(path: Path) -> pa.Table:
    """The table of a file, mapped from there.

    Raises:
        OSError, pa.ArrowException: when it cannot be read as such.
    """
    with pa.memory_map(str(path)) as file:
        try:
            return pa.ipc.open_file(file).read_all()
        except pa.ArrowInvalid:
            file.seek(0)
            return pa.ipc.open_stream(file).read_all()
