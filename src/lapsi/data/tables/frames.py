"""Frames of any library that is there already, as pandas ones. None of these libraries is imported for it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lapsi.data.arrays import require_even
from lapsi.data.readers.containers import values_of
from lapsi.errors import InputError


def library_of(value: Any) -> str:
    """The package that an object comes from: "polars", "datasets", …"""
    return type(value).__module__.partition(".")[0]


def is_frame(value: Any) -> bool:
    """Whether an object is a table with named columns: of pandas, polars or Arrow."""
    return isinstance(value, pd.DataFrame | pa.Table) or (library_of(value) == "polars" and hasattr(value, "columns"))


def holds_samples(value: Any) -> bool:
    """Whether an object is a data set of Hugging Face or torch, or a list of texts or of images of Pillow."""
    if isinstance(value, list | tuple):
        return len(value) > 0 and (isinstance(value[0], str) or library_of(value[0]) == "PIL")
    of_torch = any(base.__module__.startswith("torch.utils.data") for base in type(value).__mro__)
    return of_torch or library_of(value) == "datasets"


def to_arrow(frame: Any) -> pa.Table:
    """A frame as an Arrow table; the index of a pandas frame is left out."""
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pd.DataFrame):
        return pa.Table.from_pandas(frame, preserve_index=False)
    return (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()


def to_pandas(frame: Any) -> pd.DataFrame:
    """A frame as one of pandas: integers beside gaps as floating-point numbers where these are exact, days as moments."""
    if isinstance(frame, pd.DataFrame):
        return frame
    table = to_arrow(frame)
    whole = {name: values_of(table[name]) for name, kind in zip(table.column_names, table.schema.types, strict=True)
             if pa.types.is_integer(kind)}  # fmt: skip
    return table.to_pandas(date_as_object=False).assign(**whole)


def require_numbers(frame: Any) -> None:
    """Refuses a frame of pandas with a column that cannot become numbers as it is, and uneven lists; anything else passes.

    Raises:
        InputError: naming the column and what it holds.
    """
    require_even(frame)
    if not isinstance(frame, pd.DataFrame):
        return
    for place, kind in enumerate(frame.dtypes):
        name, values = frame.columns[place], frame.iloc[:, place]
        try:
            if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
                raise TypeError("moments")
            values.to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Column {str(name)!r} holds {kind}, which is no number; the estimator takes numbers alone: encode it first, "
                "e.g. by skrub.TableVectorizer() in a pipeline, or leave it out."
            ) from error


def hash_of(frame: pd.DataFrame, by: str, vectors: Collection[str] = ()) -> str:
    """Of all that a frame holds, and of what encodes it: the last bits of features that a library makes may differ.

    `vectors`: columns of several numbers a sample.
    """
    digest = hashlib.blake2b(by.encode(), digest_size=16)
    for name in frame:
        values = frame[name]
        digest.update(repr(str(name)).encode())
        if name in vectors:
            digest.update(np.array(values.tolist(), np.float64).data)
        elif pd.api.types.is_numeric_dtype(values.dtype):
            digest.update(np.ascontiguousarray(values.to_numpy(np.float64, na_value=np.nan)).data)
        else:
            known = values.astype(object).where(values.notna(), None)
            digest.update("\0".join(repr(None if value is None else str(value)) for value in known).encode())
    return digest.hexdigest()
