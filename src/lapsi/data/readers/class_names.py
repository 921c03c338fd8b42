"""The names that a file gives to classes which its labels count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import to_numpy
from lapsi.data.readers.columns import CLASS_NAMES, Columns, require_name
from lapsi.data.readers.containers import NamedArrays
from lapsi.errors import InputError


def class_names(arrays: NamedArrays, columns: Columns, path: Path) -> np.ndarray | None:
    """(C,) the asked names; those under the usual name where the file holds arrays.

    Raises:
        InputError: when two classes have one name.
    """
    name = columns.class_names
    if name is None:
        if arrays.is_table or CLASS_NAMES not in arrays.names:
            return None
        name = CLASS_NAMES
    names = to_numpy(arrays.shared(require_name(name, arrays.names, "class names", path.name)))
    first: dict[Any, int] = {}
    for code, each in enumerate(names.tolist()):
        if first.setdefault(each, code) != code:
            raise InputError(
                f"{path.name}: {name!r} calls both class {first[each]} and class {code} {each!r}, and their labels would "
                "become one; give each class its own name."
            )
    return names


def require_names_fit(labels: Any, names: np.ndarray, name: str) -> None:
    """Refuses names that were asked for, where the labels are no positions among them.

    Raises:
        InputError: saying what the labels are.
    """
    codes = to_numpy(labels)
    known = codes[~pd.isna(codes)]
    whole = known.dtype.kind in "iu" or (known.dtype.kind == "f" and (known == np.floor(known)).all())
    if not whole or (len(known) > 0 and (known.min() < 0 or known.max() >= len(names))):
        got = f"run from {known.min()} to {known.max()}" if whole else f"are of type {codes.dtype}"
        raise InputError(
            f"--class-names {name} holds {len(names)} names, but the labels {got}; expected positions from 0 to "
            f"{len(names) - 1}."
        )


def name_labels(labels: Any, names: np.ndarray) -> np.ndarray:
    """Names (N,) of integer labels; labels of another kind, or without a name, as they are."""
    codes = to_numpy(labels)
    if codes.dtype.kind == "f" and np.isnan(codes).any():  # integers with gaps
        known = name_labels(codes[~np.isnan(codes)].astype(np.int64), names)
        named = np.full(len(codes), None, dtype=object)
        named[~np.isnan(codes)] = known
        return named
    if codes.dtype.kind not in "iu" or len(codes) == 0 or codes.min() < 0 or codes.max() >= len(names):
        return codes
    return names[codes]
