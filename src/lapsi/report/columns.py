"""The rows of a run as the compact columns that the page reads: typed arrays in base64, and lists of strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lapsi.analysis.checks.base import CHECK
from lapsi.analysis.checks.told import found
from lapsi.analysis.label_issues import disagreement
from lapsi.report.kinds.choose import view_of
from lapsi.report.packing import as_days, as_strings, pack
from lapsi.results.columns import SAMPLE, SOURCE, TRAVELLING, Column
from lapsi.results.scores import Scores

APART = {"id", "row", "label", "loo_label", "suggested_label", "text", "corrupted"}  # what the page shows in its own way
DICTIONARY_SHARE = 0.5  # a column of strings with fewer distinct values than this share of its rows is stored as codes


def embed_columns(scores: Scores, rows: np.ndarray, texts: list[str] | None, text_limit: int) -> dict[str, Any]:
    """What the page needs to know of some samples, as plain JSON values.

    Args:
        scores: the run.
        rows: (k,) positions in its table, ascending.
        texts: (k,) what the samples say; None where they are no texts.
        text_limit: characters kept of each text.
    """
    table = scores.table.iloc[rows]
    measures = page_measures(scores)
    shown = {*APART, *(column.name for column in measures)}
    of_table = set(values_shown(scores))
    marked = table["corrupted"].fillna(False).astype(bool) if "corrupted" in table else None
    return {
        "n": len(rows),
        "total": len(scores),
        "rows": None if len(rows) == len(scores) else pack(rows.astype(np.uint32)),
        "ids": as_strings(table["id"]),
        "targets": view_of(scores).embed(scores, rows),
        "measures": {column.name: _numbers(table[column.name]) for column in measures},
        "extra": [
            _extra(column, table[column.name], column.name in of_table)
            for column in page_columns(scores)
            if column.name not in shown
        ],
        "texts": None if texts is None else [shorten(text, text_limit) for text in texts],
        "corrupted": None if marked is None else pack(marked.to_numpy(np.uint8)),
        "checks": [{"title": title, "data": pack(mask[rows].astype(np.uint8))} for title, mask in found(scores).items()],
        "differs": None if "reference_label" not in table else pack(_differs(scores, rows)),
        "near": None if scores.neighbours is None else pack(_near(scores, rows)),
        "map": None if scores.map is None else pack(scores.map[rows].astype(np.float32)),
    }


def _differs(scores: Scores, rows: np.ndarray) -> np.ndarray:
    """(k,) uint8: where a second target is known and is not the given one."""
    return disagreement(scores, "reference_label")[1][rows].astype(np.uint8)


def _near(scores: Scores, rows: np.ndarray) -> np.ndarray:
    """(k, 5) uint32: where on the page the nearest samples of each stand; `NOWHERE` for none that does."""
    assert scores.neighbours is not None
    sources = pd.Index(scores.table["row"].to_numpy()[rows])
    return sources.get_indexer(scores.neighbours[rows].ravel()).astype(np.int32).view(np.uint32)


def page_columns(scores: Scores) -> list[Column]:
    """What the columns of the table mean for targets of this kind, in their order."""
    known, view = scores.evidence.columns(scores.outputs), view_of(scores)
    told = [(known.get(column.name), column) for column in scores.columns]
    return [own if own is not None and own.means(column) else view.carried(column) for own, column in told]


def page_measures(scores: Scores) -> list[Column]:
    """The numbers that lapsi computed, which the page draws, sorts by and lists."""
    own = [column for column in page_columns(scores) if column.name not in APART]
    return [column for column in own if column.is_number and column.measure not in (SAMPLE, SOURCE)]


def values_shown(scores: Scores) -> list[str]:
    """The columns that show a sample of a table: those that features were made of; empty for other samples."""
    return [name for name in scores.provenance.table.get("shown", []) if name in scores.table.columns]


def shorten(text: str, limit: int) -> str:
    """The beginning of a text, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _numbers(values: pd.Series) -> dict[str, str]:
    """Positions and counts as they are, else float32."""
    is_count = isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu" and len(values) > 0 and values.min() >= 0
    return pack(values.to_numpy(np.uint32) if is_count else values.to_numpy(np.float32, na_value=np.nan))


def _extra(column: Column, values: pd.Series, is_value: bool) -> dict[str, Any]:
    """Any other column: numbers, codes of a few names, or strings; `is_value`: features were made of it."""
    record: dict[str, Any] = {"key": column.name, "title": column.title, "help": column.help}
    record |= {"check": column.measure == CHECK, "kept": column.measure == SOURCE and not is_value and column.name != "path"}
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number and (column.is_number or column.name not in TRAVELLING):
        return record | {"kind": "number", "data": pack(values.to_numpy(np.float64, na_value=np.nan))}
    strings = as_strings(as_days(values))
    distinct = sorted(set(strings))
    if len(distinct) <= max(2, DICTIONARY_SHARE * len(strings)):
        codes = pd.Index(distinct).get_indexer(pd.Index(strings)).astype(np.uint32)
        return record | {"kind": "names", "names": distinct, "data": pack(codes)}
    return record | {"kind": "strings", "values": strings}
