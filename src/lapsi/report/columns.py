"""The rows of a run as the compact columns that the page reads: typed arrays in base64, and lists of strings."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pandas as pd

from lapsi.results.columns import SAMPLE, SOURCE, TRAVELLING, Column
from lapsi.results.scores import Scores

APART = {"id", "row", "label", "loo_label", "suggested_label", "text", "corrupted"}  # what the page shows in its own way
TOP_PREDICTIONS = 3
DICTIONARY_SHARE = 0.5  # a column of strings with fewer distinct values than this share of its rows is stored as codes
LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def embed_columns(scores: Scores, rows: np.ndarray, texts: list[str] | None, text_limit: int) -> dict[str, Any]:
    """What the page needs to know of some samples, as plain JSON values.

    Args:
        scores: the run.
        rows: (k,) positions in its table, ascending.
        texts: (k,) what the samples say; None where they are no texts.
        text_limit: characters kept of each text.
    """
    table = scores.table.iloc[rows]
    names = pd.Index(scores.classes.astype(str))
    measures = page_measures(scores)
    shown = {*APART, *(column.name for column in measures)}
    predictions = np.argsort(-scores.loo_proba[rows], axis=1, kind="stable")[:, :TOP_PREDICTIONS]
    probabilities = np.take_along_axis(scores.loo_proba[rows], predictions, 1)
    marked = table["corrupted"].fillna(False).astype(bool) if "corrupted" in table else None
    return {
        "n": len(rows),
        "total": len(scores),
        "rows": None if len(rows) == len(scores) else pack(rows.astype(np.uint32)),
        "classes": names.tolist(),
        "ids": as_strings(table["id"]),
        "label": pack(codes_of(table["label"], names)),
        "predicted": pack(codes_of(table["loo_label"], names)),
        "measures": {column.name: _numbers(table[column.name]) for column in measures},
        "top": {"codes": pack(predictions.astype(np.uint32)), "probability": pack(probabilities.astype(np.float32))},
        "extra": [_extra(column, table[column.name]) for column in scores.columns if column.name not in shown],
        "texts": None if texts is None else [shorten(text, text_limit) for text in texts],
        "corrupted": None if marked is None else pack(marked.to_numpy(np.uint8)),
        "map": None if scores.map is None else pack(scores.map[rows].astype(np.float32)),
    }


def page_measures(scores: Scores) -> list[Column]:
    """The numbers that lapsi computed, which the page draws, sorts by and lists."""
    return [column for column in scores.columns if column.is_number and column.measure not in (SAMPLE, SOURCE)]


def codes_of(values: pd.Series, names: pd.Index) -> np.ndarray:
    """(k,) uint32, the position of each value among the names of the classes."""
    return names.get_indexer(pd.Index(as_strings(values))).astype(np.uint32)


def as_strings(values: pd.Series) -> list[str]:
    """Values as a person reads them; "" for missing ones."""
    missing = values.isna().to_numpy()
    return ["" if gone else str(value) for value, gone in zip(values.tolist(), missing, strict=True)]


def shorten(text: str, limit: int) -> str:
    """The beginning of a text, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def pack(values: np.ndarray) -> dict[str, str]:
    """An array as little-endian bytes in base64, with the name of its type."""
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"type": values.dtype.name, "data": base64.b64encode(plain.tobytes()).decode("ascii")}


def to_script(value: object) -> str:
    """JSON that is safe inside a `<script>` element: it holds no `<`, `>` or `&` and no half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return LONE_SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _numbers(values: pd.Series) -> dict[str, str]:
    """Positions and counts as they are, else float32."""
    is_count = isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu" and len(values) > 0 and values.min() >= 0
    return pack(values.to_numpy(np.uint32) if is_count else values.to_numpy(np.float32, na_value=np.nan))


def _extra(column: Column, values: pd.Series) -> dict[str, Any]:
    """Any other column: numbers, codes of a few names, or strings."""
    record = {"key": column.name, "title": column.title, "help": column.help}
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number and column.name not in TRAVELLING:
        return record | {"kind": "number", "data": pack(values.to_numpy(np.float64, na_value=np.nan))}
    strings = as_strings(values)
    distinct = sorted(set(strings))
    if len(distinct) <= max(2, DICTIONARY_SHARE * len(strings)):
        codes = pd.Index(distinct).get_indexer(pd.Index(strings)).astype(np.uint32)
        return record | {"kind": "names", "names": distinct, "data": pack(codes)}
    return record | {"kind": "strings", "values": strings}
