"""The file of a run of pairs, opened again as it was, without features made anew."""

from __future__ import annotations

import pandas as pd

from lapsi.cli.reopen import changed, data_of
from lapsi.data.readers.pairs import PairFile, read_pairs
from lapsi.data.samples import TEXT
from lapsi.data.spec import read_pairs_record
from lapsi.execution.progress import Stages
from lapsi.results.scores import Scores


def reopen_pairs(scores: Scores) -> PairFile:
    """The file of a run of pairs, without features made anew: those that it holds, captions and paths are as they were.

    Raises:
        InputError: when the run was not made by the command line, or its source is gone or has changed since.
    """
    found = read_pairs(*read_pairs_record(data_of(scores)), Stages(show=False))
    table, places = scores.table, found.places(scores.table["row"].to_numpy())
    if found.n_source != scores.provenance.n_source or (places < 0).any():
        raise changed(scores)
    held = found.columns.iloc[places].reset_index(drop=True)
    same = all(_texts(held[name]) == _texts(table[name]) for name in {TEXT, "path"} & set(held) & set(table))
    if not same or found.digest() not in (None, scores.provenance.data_hash):
        raise changed(scores)
    return found


def _texts(column: pd.Series) -> list[str]:
    return column.astype(object).where(column.notna(), "").astype(str).tolist()
