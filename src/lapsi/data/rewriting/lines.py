"""A text file with a label a line, written again: lines that nothing was decided about stay letter for letter."""

from __future__ import annotations

from pathlib import Path

from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.errors import InputError


def rewrite_lines(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The lines of the samples that stay, each with the end that it has."""
    lines = source.read_bytes().decode("utf-8").splitlines(keepends=True)
    for row, label in zip(decided.changed.tolist(), map(str, decided.labels), strict=True):
        if label.splitlines() != [label]:
            raise InputError(f"The label {label!r} is no line of {source.name}; write .csv, .parquet or .json.")
        lines[row] = label + lines[row].removeprefix(lines[row].splitlines()[0])
    target.write_bytes("".join(lines[row] for row in decided.kept.tolist()).encode())
