"""CSV, TSV and JSONL files as Arrow tables, read to the letter: no row and no digit goes missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from mmap import mmap
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json

from lapsi.data.readers.layouts import (
    COMPRESSED,
    QUOTED,
    Layout,
    content_of,
    head_of,
    kind_of,
    layout_of_kind,
    line_end_in,
    separator_in,
    separator_of,
)
from lapsi.errors import InputError

BLANKS = {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False}  # "NA" is a word
BEYOND = 2**63  # integers from there on were read as floating-point numbers
INTEGER = re.compile(r"\s*-?\d+\s*")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Cells = Callable[[str], list[str | None]]


def read_csv(path: Path) -> tuple[pa.Table, Layout]:
    """All rows of a file of `DELIMITED` kind, and how they lie there.

    Fractions are written with a comma where more columns are numbers then; that is asked only where no comma parts columns.

    Raises:
        InputError: as `require_closed_quotes`.
    """
    point = Layout(separator_of(path))
    require_closed_quotes(path, point.separator)
    table = _parsed(path, point)
    if point.separator == "," or not any(map(_is_text, table.schema.types)):
        return table, point
    comma = Layout(point.separator, ",")
    other = _parsed(path, comma)
    return (other, comma) if _n_fractions(other) > _n_fractions(table) else (table, point)


def layout_of(path: Path) -> Layout:
    """How the rows of a file of `DELIMITED` kind lie there.

    Raises:
        InputError: as `read_csv`.
    """
    head = head_of(path)
    is_usual = separator_in(head, layout_of_kind(kind_of(path)).separator) == ","
    return replace(Layout() if is_usual else read_csv(path)[1], line_end=line_end_in(head))


def _parsed(path: Path, layout: Layout, column: str | None = None) -> pa.Table:
    """The table, or one column of it as text."""
    parse = pa.csv.ParseOptions(delimiter=layout.separator, newlines_in_values=True)
    one = {} if column is None else {"include_columns": [column], "column_types": {column: pa.string()}}
    convert = pa.csv.ConvertOptions(decimal_point=layout.decimal, **one, **BLANKS)
    with pa.input_stream(path, compression="gzip" if kind_of(path).endswith(COMPRESSED) else None) as stream:
        return pa.csv.read_csv(stream, parse_options=parse, convert_options=convert)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind)


def _n_fractions(table: pa.Table) -> int:
    """Columns of numbers that are no integers."""
    return sum(map(pa.types.is_floating, table.schema.types))


def _is_utf8(cell: bytes) -> bool:
    return cell.decode("utf-8", "replace").encode() == cell


def csv_cells(path: Path, layout: Layout, name: str) -> list[str | None]:
    """A column of a file of `DELIMITED` kind (N,) as text."""
    return _parsed(path, layout, name)[name].to_pylist()


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


def require_closed_quotes(path: Path, separator: str = ",") -> None:
    """Refuses a file of `DELIMITED` kind with a quoted cell that runs on into rows that are not its own: readers take those
    for its text.

    Raises:
        InputError: naming the line where the cell begins, when its quote never closes or closes in the middle of a cell.
    """
    ends = (b"", separator.encode(), b"\n", b"\r")
    with content_of(path) as content:
        start = content.find(b'"')
        while start >= 0:
            end = start + 1
            if _begins_cell(content, start, ends):
                cell = QUOTED.match(content, start)
                if cell is None:
                    raise InputError(
                        f"{path}: the quote that opens in line {_line(content, start)} never closes, so all that follows would "
                        "be one cell; close it, or double it where it is part of a text."
                    )
                end = cell.end()
                if content[end : end + 1] not in ends:
                    raise InputError(
                        f"{path}: the quote that opens in line {_line(content, start)} closes in line {_line(content, end)} "
                        "before more text, so rows may run together; close it where its cell ends, and double quotes inside it."
                    )
            start = content.find(b'"', end)


def _begins_cell(content: mmap | bytes, position: int, ends: tuple[bytes, ...]) -> bool:
    """Whether a quote stands where a cell begins; elsewhere it is a letter like any other."""
    before = content[max(position - 3, 0) : position]
    return before[-1:] in ends or (position == 3 and before == BYTE_ORDER_MARK)


def _line(content: mmap | bytes, position: int) -> int:
    """Number from 1 of the line that holds a position."""
    return 1 + len(re.findall(rb"\r\n|\r|\n", content[:position]))
