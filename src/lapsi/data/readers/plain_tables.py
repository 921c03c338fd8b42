"""Tables as they are: every column that is not known to be something else is a feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lapsi.data.readers.columns import FEATURE_NAMES, Columns, first_of, require_name
from lapsi.data.readers.containers import NamedArrays, values_of
from lapsi.data.readers.feature_columns import is_list
from lapsi.data.tables.encode import Encoded, NoFeaturesError, encode
from lapsi.errors import InputError


def is_plain_table(arrays: NamedArrays, columns: Columns) -> bool:
    """Whether the features are columns of any kind: several, one with gaps or no numbers, or none of a usual name."""
    if not arrays.is_table or arrays.column is None or columns.prefix is not None:
        return False
    if columns.features is None:
        return first_of(FEATURE_NAMES, arrays.names) is None
    if columns.features not in arrays.names:
        return "," in columns.features
    column = arrays.column(columns.features)
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return not is_list(column.type) and (not is_number or column.null_count > 0)


def table_features(arrays: NamedArrays, columns: Columns, others: set[str | None], path: Path) -> tuple[pd.DataFrame, Encoded]:
    """The columns of a table and the features that are made of them.

    Args:
        arrays: the table.
        columns: names inside it; `features` chooses columns, `drop` leaves some out.
        others: columns that are something else: labels, ids, weights, what travels along.
        path: of the table, for messages.

    Raises:
        InputError: when there is no such column, or `encode` says so.
    """
    for name in columns.drop:
        require_name(name, arrays.names, "column", path.name)
    names = [name for name in arrays.names if name not in others]
    if columns.features is not None:
        asked = [columns.features] if columns.features in arrays.names else columns.features.split(",")
        names = [require_name(name.strip(), arrays.names, "features", path.name) for name in asked]
        double = [name for name in names if names.count(name) > 1 or name in others]
        if double:
            raise InputError(f"{path.name}: column {double[0]!r} was named as a feature and once more; name it once.")
    frame = pd.DataFrame({name: _column(arrays, name) for name in names})
    has_group = columns.group is not None
    place, chosen = path.name, columns.features is not None
    try:
        return frame, encode(frame, place, chosen=chosen, has_ids=columns.ids is not None, has_group=has_group)
    except NoFeaturesError as error:
        raise InputError(f"{error} Name some with --features.") from error


def _column(arrays: NamedArrays, name: str) -> pd.Series:
    """A column as pandas holds it; days as moments, integers beside gaps as floating-point numbers where these are exact."""
    assert arrays.column is not None
    column = arrays.column(name)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_null(column.type):
        return pd.Series(np.full(len(column), np.nan))
    return pd.Series(values_of(column)) if pa.types.is_integer(column.type) else column.to_pandas(date_as_object=False)
