"""Records in a .jsonl file, a line each, written again: lines that nothing was decided about stay letter for letter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.readers.columns import IMAGE_NAMES, LABEL_NAMES, Columns, choose_name, first_of
from lapsi.data.rewriting.decided import Decided
from lapsi.data.targets import label_set
from lapsi.errors import InputError


def rewrite_jsonl(source: Path, target: Path, columns: Columns, decided: Decided, folder: Path) -> None:
    """The lines of a file without the samples that were removed; relative paths of images stay right in `folder`."""
    new = dict(zip(decided.changed.tolist(), decided.labels, strict=True))
    kept, before, after = set(decided.kept.tolist()), source.absolute().parent.resolve(), folder.resolve()
    with source.open("rb") as file:
        lines = [line for line in file if line.strip()]
    if len(lines) != decided.n_source:
        raise InputError(
            f"{source.name} has {len(lines):,} lines for {decided.n_source:,} records; expected one a line. Write .csv, "
            ".parquet or .json."
        )
    with target.open("wb") as file:
        for row, line in enumerate(lines):
            if row not in kept:
                continue
            changes = _labels(line, columns, source, new[row]) if row in new else {}
            changes |= _moved(line, columns, before, after) if before != after else {}
            whole = json.dumps(json.loads(line) | changes, ensure_ascii=False).encode() if changes else line.strip()
            file.write(whole + b"\n")


def _labels(line: bytes, columns: Columns, source: Path, new: Any) -> dict[str, Any]:
    """The label of a record, as the record has it; several numbers by their names."""
    record = json.loads(line)
    asked = columns.labels
    several = [] if asked is None or asked in record else [name.strip() for name in asked.split(",")]
    if len(several) > 1:
        values = new if isinstance(new, tuple) else [name in label_set(new) for name in several]
        return {name: _alike(value, record[name]) for name, value in zip(several, values, strict=True)}
    name = choose_name(asked, LABEL_NAMES, list(record), "labels", source.name)
    return {name: _alike(new, record[name])}


def _alike(new: Any, held: Any) -> Any:
    """A new label as a record holds the old one: as text, as a list of labels, or as a number of the same kind."""
    plain = new.item() if isinstance(new, np.generic) else new
    if isinstance(held, list):
        return list(map(type(held[0]) if held else str, sorted(label_set(plain))))
    if isinstance(held, str | float):
        return type(held)(plain)
    if isinstance(held, int) and not isinstance(held, bool) and isinstance(plain, bool | str):
        return int(plain)
    return plain


def _moved(line: bytes, columns: Columns, before: Path, after: Path) -> dict[str, str]:
    """The path of the image of a record, where it has one that is relative to another folder."""
    record = json.loads(line)
    name = columns.images or (None if columns.features or columns.texts else first_of(IMAGE_NAMES, list(record)))
    path = None if name is None else record.get(name)
    if name is None or not isinstance(path, str) or os.path.isabs(path):
        return {}
    return {name: Path(os.path.relpath(before / path, after)).as_posix()}
