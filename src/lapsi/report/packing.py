"""What the page reads: typed arrays in base64, lists of strings, and JSON that stays within its element."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pandas as pd

LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def as_strings(values: pd.Series) -> list[str]:
    """Values as a person reads them; "" for missing ones."""
    missing = values.isna().to_numpy()
    return ["" if gone else str(value) for value, gone in zip(values.tolist(), missing, strict=True)]


def as_days(values: pd.Series) -> pd.Series:
    """Times of which all are midnight as days, all other values as they are."""
    if not pd.api.types.is_datetime64_any_dtype(values) or (values.dropna() != values.dropna().dt.normalize()).any():
        return values
    return values.dt.strftime("%Y-%m-%d")


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
