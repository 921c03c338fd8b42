"""`lapsi export`: the rows of a run as a table, alone or beside the data they belong to."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lapsi.cli.terminal import say, told
from lapsi.data.readers.hub import is_saved_dataset, saved_rows
from lapsi.data.readers.layouts import DELIMITED, Layout, kind_of
from lapsi.data.readers.whole_tables import WHOLE_TABLES, read_whole
from lapsi.data.writing import write_table
from lapsi.errors import InputError
from lapsi.execution.files import write_file
from lapsi.results.interop import add_columns
from lapsi.results.run_directory import write_directory
from lapsi.results.scores import Scores


def export(run: Path, to: Path, into: Path | None, ids: str | None, force: bool) -> None:
    """Writes the rows of a run, or a copy of the data `into` with the scores beside them, to `to`."""
    scores = Scores.load(run)
    n_rows = len(scores)
    if into is None:
        write_file(to, lambda path: write_table(scores.table, path), force)
    elif into.is_dir() and is_saved_dataset(into):
        rows = add_columns(saved_rows(into, scores.provenance.data.get("split")), scores, ids=ids)
        n_rows = len(rows)
        write_directory(to, lambda path: rows.save_to_disk(str(path)), force=False)
    else:
        is_text = kind_of(to) in DELIMITED
        table, layout = _read(into, as_text=is_text)
        scored = add_columns(table, scores, ids=ids)
        n_rows = len(scored)
        write_file(to, lambda path: write_table(scored, path, layout.written_as(kind_of(to)) if is_text else None), force)
    with told(to):
        say(f"{n_rows:,} rows to {to}")


def _read(path: Path, as_text: bool) -> tuple[pd.DataFrame, Layout]:
    """The table in a file and how it lies there; `as_text` keeps every cell of a file of text as it stands there."""
    if kind_of(path) not in WHOLE_TABLES or not path.is_file():
        raise InputError(
            f"{path} cannot be extended; expected a file {', '.join(WHOLE_TABLES)}, or a saved Hugging Face data set."
        )
    return read_whole(path, as_text)
