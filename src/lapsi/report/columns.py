"""The rows of a run as the compact columns that the page reads: typed arrays in base64, and lists of strings."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.dataset import CARRIED
from lapsi.results.scores import COLUMNS, FROM_SOURCE, Scores

MEASURES = {
    "lsi": "LSI",
    "label_quality": "label quality",
    "loo_margin": "confidence margin",
    "loo_probability": "leave-one-out probability",
    "loo_loss": "leave-one-out loss",
    "train_probability": "training probability",
    "lsi_mean": "LSI, shift",
    "lsi_curvature": "LSI, curvature",
    "lsi_std": "LSI, deviation over seeds",
    "leverage": "leverage",
    "shift_norm": "shift of the weights",
}
RANKS = {"rank": "rank", "rank_in_class": "rank in class"}
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
    extra = [name for name in table.columns if name not in COLUMNS and name not in ("text", "corrupted")]
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
        "measures": {name: pack(table[name].to_numpy(np.float32)) for name in MEASURES if name in table},
        "ranks": {name: pack(table[name].to_numpy(np.uint32)) for name in RANKS},
        "top": {"codes": pack(predictions.astype(np.uint32)), "probability": pack(probabilities.astype(np.float32))},
        "extra": [_extra(name, table[name]) for name in extra],
        "texts": None if texts is None else [shorten(text, text_limit) for text in texts],
        "corrupted": None if marked is None else pack(marked.to_numpy(np.uint8)),
        "map": None if scores.map is None else pack(scores.map[rows].astype(np.float32)),
    }


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


def _extra(name: str, values: pd.Series) -> dict[str, Any]:
    """A column that travelled along: numbers, codes of a few names, or strings."""
    record = {"key": name, "title": name.replace("_", " "), "help": CARRIED.get(name, FROM_SOURCE)}
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and name not in CARRIED:
        return record | {"kind": "number", "data": pack(values.to_numpy(np.float64, na_value=np.nan))}
    strings = as_strings(values)
    distinct = sorted(set(strings))
    if len(distinct) <= max(2, DICTIONARY_SHARE * len(strings)):
        codes = pd.Index(distinct).get_indexer(pd.Index(strings)).astype(np.uint32)
        return record | {"kind": "names", "names": distinct, "data": pack(codes)}
    return record | {"kind": "strings", "values": strings}
