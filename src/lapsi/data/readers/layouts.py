"""How a table lies in a file of text: what parts its columns, how fractions are written, whether it is compressed."""

from __future__ import annotations

import gzip
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

COMPRESSED = ".gz"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
DELIMITED = (*SEPARATORS, *(kind + COMPRESSED for kind in SEPARATORS))
MARKS = (",", ";", "\t", "|")
QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
HEAD = 2**20  # bytes in which the first two lines are looked for


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file of text writes a table.

    Attributes:
        separator: what stands between its columns.
        decimal: what stands before fractions.
        line_end: what ends its lines.
    """

    separator: str = ","
    decimal: str = "."
    line_end: str = "\n"

    def written_as(self, kind: str) -> Layout:
        """How its cells are written, as they are, to a file of a kind: `;` parts columns where `,` stands in numbers."""
        separator = SEPARATORS[kind.removesuffix(COMPRESSED)]
        if self.separator != "\t" and separator != "\t":
            separator = self.separator
        return Layout(";" if separator == self.decimal else separator, self.decimal, self.line_end)


def kind_of(path: Path) -> str:
    """The suffix of a file in small letters, of a compressed table both: ".csv.gz"."""
    kinds = [suffix.lower() for suffix in path.suffixes]
    both = "".join(kinds[-2:])
    return both if both in DELIMITED else "".join(kinds[-1:])


def layout_of_kind(kind: str) -> Layout:
    """The usual one of files of a kind."""
    return Layout(SEPARATORS[kind.removesuffix(COMPRESSED)])


@contextmanager
def content_of(path: Path) -> Iterator[mmap.mmap | bytes]:
    """All bytes of a file of text.

    Raises:
        OSError, EOFError, zlib.error: when it cannot be read or decompressed whole.
    """
    if kind_of(path).endswith(COMPRESSED):
        with open_text(path) as file:
            yield file.read()
    elif path.stat().st_size == 0:
        yield b""
    else:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def separator_of(path: Path) -> str:
    """What parts the columns of a file of text, as `separator_in` tells.

    Raises:
        OSError, EOFError, zlib.error: when it cannot be read.
    """
    return separator_in(head_of(path), layout_of_kind(kind_of(path)).separator)


def head_of(path: Path) -> bytes:
    """What a file of text begins with.

    Raises:
        OSError, EOFError, zlib.error: when it cannot be read.
    """
    with open_text(path) as file:
        return file.read(HEAD)


def line_end_in(head: bytes) -> str:
    """What ends the first line."""
    return "\r\n" if QUOTED.sub(b"", head).partition(b"\n")[0].endswith(b"\r") else "\n"


def separator_in(head: bytes, usual: str = ",") -> str:
    """What parts the columns: as usual, or another mark where the header and the line below it have that instead."""
    lines = QUOTED.sub(b"", head).splitlines()[:2]
    held = [mark for mark in MARKS if lines and all(mark.encode() in line for line in lines)]
    return held[0] if held and usual.encode() not in lines[0] else usual


def open_text(path: Path) -> IO[bytes]:
    """The bytes of a file of text, decompressed."""
    if kind_of(path).endswith(COMPRESSED):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def in_words(layout: Layout, path: Path) -> str:
    """A line on a layout that is not the usual one of its file; "" for that."""
    usual = layout_of_kind(kind_of(path))
    if layout == usual:
        return ""
    fractions = f", fractions written with {layout.decimal!r}" if layout.decimal != usual.decimal else ""
    return f"{path.name}: columns parted by {layout.separator!r}{fractions}."
