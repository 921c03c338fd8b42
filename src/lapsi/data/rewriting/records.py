"""Records in a .jsonl file, a line each, written again: lines that nothing was decided about stay letter for letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.data.rewriting.paths import mover
from lapsi.data.targets import label_set
from lapsi.errors import InputError


def rewrite_jsonl(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The lines of a file without the samples that were removed; relative paths of images stay right in `folder`."""
    new = dict(zip(decided.changed.tolist(), decided.labels, strict=True))
    kept, moved = set(decided.kept.tolist()), mover(source.absolute().parent, folder)
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
            record = json.loads(line) if row in new or named.paths is not None else {}
            changes = _labels(record, named.labels, new[row]) if row in new else {}
            if named.paths is not None and moved(record.get(named.paths)) != record.get(named.paths):
                changes[named.paths] = moved(record[named.paths])
            whole = json.dumps(record | changes, ensure_ascii=False).encode() if changes else line.strip()
            file.write(whole + b"\n")


def _labels(record: dict[str, Any], labels: str | None, new: Any) -> dict[str, Any]:
    """The label of a record, as the record has it; several numbers by their names."""
    assert labels is not None
    several = [] if labels in record else [name.strip() for name in labels.split(",")]
    if len(several) > 1:
        values = new if isinstance(new, tuple) else [name in label_set(new) for name in several]
        return {name: _alike(value, record[name]) for name, value in zip(several, values, strict=True)}
    return {labels: _alike(new, record[labels])}


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
