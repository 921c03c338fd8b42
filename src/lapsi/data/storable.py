"""Names and columns that a run can keep to the last digit and letter, or a refusal before the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lapsi.data.arrays import to_numpy
from lapsi.errors import InputError


def stored(values: Any, what: str, name: str = "values") -> Any:
    """Values (n,) in a type that keeps them, after writing them to nowhere as a run will when all the work is done.

    Raises:
        InputError: when they cannot be written.
    """
    try:
        column = _with_gaps(values)
        pd.DataFrame({name: column}).to_parquet(pa.MockOutputStream(), index=False)
        return column
    except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise InputError(f"{what} cannot be stored ({reason}); convert it to text in UTF-8 or numbers of 64 bits.") from error


def _with_gaps(values: Any) -> Any:
    """Integers beside gaps (n,), which would be read back as floating-point numbers, in a type that has gaps; else the same."""
    if values.dtype.kind != "O" or pd.api.types.infer_dtype(values, skipna=True) != "integer":
        return values
    missing = pd.isna(values)
    whole = to_numpy(np.where(missing, 0, values))
    return pd.arrays.IntegerArray(whole, missing) if whole.dtype.kind in "iu" else values


def one_type(values: np.ndarray, name: str) -> np.ndarray:
    """Objects of one storable type (n,)."""
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise InputError(f"The {name} mix types ({', '.join(kinds)}); expected one type, e.g. all strings.")
    if not isinstance(values[0], str | int | bool | np.integer | np.bool_):
        raise InputError(f"The {name} are of type {kinds[0]}; expected strings, integers or booleans.")
    return values


def require_names(values: np.ndarray, what: str) -> None:
    """Refuses what would not come back as it is: neither numpy nor CSV keeps a NUL in a text."""
    ended = [value for value in values.tolist() if isinstance(value, str) and "\0" in value]
    if ended:
        raise InputError(f"The {what} hold a NUL, the first in {ended[0]!r}, where text ends for numpy; take it out.")
    stored(values, f"The {what}")
