"""CSV and JSONL files as Arrow tables, read to the letter: no row and no digit goes missing."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json

from lapsi.errors import InputError

PARSE = pa.csv.ParseOptions(newlines_in_values=True)
BLANKS = {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False}  # "NA" is a word
BEYOND = 2**63  # integers from there on were read as floating-point numbers
INTEGER = re.compile(r"\s*-?\d+\s*")
QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Cells = Callable[[str], list[str | None]]


def read_csv(path: Path) -> pa.Table:
    """All rows of a CSV file.

    Raises:
        InputError: as `require_closed_quotes`.
    """
    require_closed_quotes(path)
    return pa.csv.read_csv(path, parse_options=PARSE, convert_options=pa.csv.ConvertOptions(**BLANKS))


def _is_utf8(cell: bytes) -> bool:
    return cell.decode("utf-8", "replace").encode() == cell


def csv_cells(path: Path, name: str) -> list[str | None]:
    """A column of a CSV file (N,) as text."""
    convert = pa.csv.ConvertOptions(include_columns=[name], column_types={name: pa.string()}, **BLANKS)
    return pa.csv.read_csv(path, parse_options=PARSE, convert_options=convert)[name].to_pylist()


def read_jsonl(path: Path) -> pa.Table:
    """All rows of a JSONL file."""
    return pa.json.read_json(path)


def jsonl_cells(path: Path, name: str) -> list[str | None]:
    """A column of a JSONL file (N,) as text."""
    with path.open(encoding="utf-8") as file:
        values = [json.loads(line).get(name) for line in file if line.strip()]
    return [None if value is None else str(value) for value in values]


def exact_column(table: pa.Table, name: str, cells: Cells) -> pa.ChunkedArray:
    """A column of a table; integers that Arrow rounded to floating-point numbers, beyond 64 bits, as the text of the file.

    Raises:
        InputError: when a cell is no text in UTF-8.
    """
    column = table[name]
    if pa.types.is_binary(column.type):  # how Arrow hands over what it cannot decode
        row = next(row for row, cell in enumerate(column.to_pylist()) if cell is not None and not _is_utf8(cell))
        raise InputError(f"Column {name!r}: row {row} is no text in UTF-8; save the file in UTF-8.")
    if not pa.types.is_floating(column.type):
        return column
    if magnitude(column) < BEYOND:
        return column
    text = cells(name)
    return pa.chunked_array([text]) if all(cell is None or INTEGER.fullmatch(cell) for cell in text) else column


def magnitude(column: pa.ChunkedArray) -> float:
    """Of the largest number in a column; 0 where it has none."""
    ends = pa.compute.min_max(column).as_py()
    return 0 if ends["max"] is None else max(-ends["min"], ends["max"])


def require_closed_quotes(path: Path) -> None:
    """Refuses a CSV file with a quoted cell that runs on into rows that are not its own: readers take those for its text.

    Raises:
        InputError: naming the line where the cell begins, when its quote never closes or closes in the middle of a cell.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b'"')
        while start >= 0:
            end = start + 1
            if _begins_cell(content, start):
                cell = QUOTED.match(content, start)
                if cell is None:
                    raise InputError(
                        f"{path}: the quote that opens in line {_line(content, start)} never closes, so all that follows would "
                        "be one cell; close it, or double it where it is part of a text."
                    )
                end = cell.end()
                if content[end : end + 1] not in (b"", b",", b"\n", b"\r"):
                    raise InputError(
                        f"{path}: the quote that opens in line {_line(content, start)} closes in line {_line(content, end)} "
                        "before more text, so rows may run together; close it where its cell ends, and double quotes inside it."
                    )
            start = content.find(b'"', end)


def _begins_cell(content: mmap.mmap, position: int) -> bool:
    """Whether a quote stands where a cell begins; elsewhere it is a letter like any other."""
    before = content[max(position - 3, 0) : position]
    return before[-1:] in (b"", b",", b"\n", b"\r") or (position == 3 and before == BYTE_ORDER_MARK)


def _line(content: mmap.mmap, position: int) -> int:
    """Number from 1 of the line that holds a position."""
    return 1 + len(re.findall(rb"\r\n|\r|\n", content[:position]))
