"""Labelled data sets of what people hold: arrays as they are, frames column by column, sparse matrices in few dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import feature_matrix
from lapsi.data.dataset import CARRIED, Dataset, make_dataset
from lapsi.data.readers.columns import require_name
from lapsi.data.tables.column import FEATURE, GROUP, IDS, SHOWN, TABLE, record_of
from lapsi.data.tables.encode import Encoded, encode
from lapsi.data.tables.frames import hash_of, holds_samples, is_frame, to_pandas
from lapsi.data.tables.sparse import Reduced, is_sparse, reduced
from lapsi.errors import InputError

KEPT = 64  # columns of a table that travel along with the samples
OTHER = "{} (given)"  # how a column is kept whose name is taken
# names that lapsi writes itself beside those that travel along
TAKEN = {
    *CARRIED, "id", "row", "label", "lsi", "lsi_mean", "lsi_curvature", "lsi_std", "lsi_error", "lsi_draw_error", "refinement",
    "loo_probability", "loo_label", "loo_margin", "loo_loss", "train_probability", "leverage", "shift_norm", "rank",
    "rank_in_class", "label_quality", "suggested_label", "loo_residual", "loo_deviation", "loo_standardized", "train_residual",
    "doubted_label", "doubted_labels", "flagged", "suggested_probability",
}  # fmt: skip


def labelled(
    X: Any,
    y: Any,
    *,
    task: str | None = None,
    weights: Any = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    source: str | None = None,
) -> Dataset:
    """`make_dataset` of what people hold.

    Args:
        X: as `make_dataset` takes it; or a frame of pandas, polars or Arrow with columns of any kind; or a sparse matrix.
        y: as `make_dataset` takes it, or the name of a column of the frame. It is paired by position, as in scikit-learn; one
            that holds the index of the frame in another order is refused.
        task, weights, ids, columns, source: as `make_dataset` takes them; the source is called by what X is.

    Raises:
        InputError: as `make_dataset` and `encode`.
    """
    known = {"task": task, "weights": weights, "ids": ids, "columns": columns, "source": source or _called(X)}
    if is_sparse(X):
        return of_sparse(reduced(X), y, **known)
    if holds_samples(X):
        raise InputError(
            f"X is a {type(X).__name__} of samples, not of features; pass it to lapsi.score_samples, or to lapsi.score_network "
            "with a network."
        )
    if not is_frame(X):
        return make_dataset(X, y, **known)
    if isinstance(y, str):
        frame = to_pandas(X)
        name = require_name(y, list(map(str, frame.columns)), "labels", "The frame")
        named = list(map(str, frame.columns)).index(name)
        X, y = frame.drop(columns=frame.columns[named]), frame.iloc[:, named]
    _require_order(X, y)
    frame = to_pandas(X)
    if _holds_numbers(frame):
        return replace(make_dataset(X, y, **known), own_units=_is_named(frame))
    index = frame.index if frame.index.is_unique and not isinstance(frame.index, pd.RangeIndex) else None
    # integers without a name are what is left of the numbers of rows that were taken away: a column of ids knows better
    is_left = index is not None and index.name is None and pd.api.types.is_integer_dtype(index)
    known_ids = ids if ids is not None or is_left else index
    has_group = columns is not None and GROUP in columns
    encoded = encode(frame, "The frame", chosen=False, has_ids=known_ids is not None, has_group=has_group)
    if known_ids is None and not encoded.names(IDS):
        known_ids = index
    return of_encoded(frame.reset_index(drop=True), encoded, y, **known | {"ids": known_ids})


def _called(X: Any) -> str:
    return "a sparse matrix" if is_sparse(X) else "a frame" if is_frame(X) else "arrays"


def _require_order(X: Any, y: Any) -> None:
    """Refuses labels whose index holds the same samples as that of a frame of pandas in another order.

    Raises:
        InputError: saying how to put them right.
    """
    if not isinstance(X, pd.DataFrame) or not isinstance(y, pd.Series | pd.DataFrame):
        return
    index, own = X.index, y.index
    if len(own) != len(index) or own.equals(index) or not (own.is_unique and index.is_unique):
        return
    if own.nlevels != index.nlevels or (index.get_indexer(own) < 0).any():
        return
    raise InputError(
        "The index of y holds the same samples as that of X in another order; put y in the order of X, y.loc[X.index], or pass "
        "y.to_numpy() where they stand side by side."
    )


def features_alone(X: Any) -> tuple[np.ndarray, bool]:
    """The features (N, d) of what people hold, without labels, and whether they are those of a table of several kinds.

    Raises:
        InputError: as `labelled`.
    """
    if is_sparse(X):
        return reduced(X).features, False
    frame = to_pandas(X) if is_frame(X) else None
    if frame is None or _holds_numbers(frame):
        return feature_matrix(X if frame is None else frame), False
    index = not isinstance(frame.index, pd.RangeIndex) and frame.index.is_unique
    return encode(frame, "The frame", chosen=False, has_ids=index).features, True


def of_sparse(found: Reduced, y: Any, **known: Any) -> Dataset:
    """The data set of a sparse matrix in few dimensions; `known`: as `make_dataset` takes it.

    Raises:
        InputError: as `make_dataset`.
    """
    made = make_dataset(found.features, y, **known)
    return replace(made, features_hash=found.digest, made_by={TABLE: record_of([found.column], "scikit-learn")})


def of_encoded(
    frame: pd.DataFrame,
    encoded: Encoded,
    y: Any,
    *,
    task: str | None,
    weights: Any,
    ids: Any,
    columns: Mapping[str, Any] | pd.DataFrame | None,
    source: str,
) -> Dataset:
    """The data set of a table that was encoded; the columns of the table travel along, so that they can be shown.

    Raises:
        InputError: as `make_dataset`.
    """
    frame = frame.rename(columns=str)
    found_ids, found_group = encoded.names(IDS), encoded.names(GROUP)
    ids = frame[found_ids[0]].to_numpy() if ids is None and found_ids else ids
    travelling: dict[str, Any] = {} if columns is None else {str(name): values for name, values in columns.items()}
    if found_group:
        travelling[GROUP] = _plain(frame[found_group[0]])
    kept = [column.name for column in encoded.columns if column.role not in (IDS, GROUP) and column.name not in encoded.vectors]
    shown = {}
    for name in kept[:KEPT]:
        called = OTHER.format(name) if name in TAKEN or name in travelling else name
        shown[name] = called
        travelling[called] = _plain(frame[name])
    made = make_dataset(encoded.features, y, task=task, weights=weights, ids=ids, columns=travelling, source=source)
    features = [shown[column.name] for column in encoded.columns if column.role == FEATURE and column.name in shown]
    used = [column.name for column in encoded.columns if column.role == FEATURE]
    digest = "" if encoded.is_plain else hash_of(frame[used], encoded.by, encoded.vectors)
    record = record_of(encoded.columns, encoded.by) | {SHOWN: features}
    return replace(made, features_hash=digest, made_by={TABLE: record}, own_units=True)


def _holds_numbers(frame: pd.DataFrame) -> bool:
    """Whether all columns are finite numbers or booleans without gaps, which need no encoding."""
    types = pd.api.types
    return all(
        (types.is_numeric_dtype(kind) or types.is_bool_dtype(kind))
        and not types.is_complex_dtype(kind)
        and bool(np.isfinite(frame.iloc[:, place].to_numpy(np.float64, na_value=np.nan)).all())
        for place, kind in enumerate(frame.dtypes)
    )


def _is_named(frame: pd.DataFrame) -> bool:
    """Whether columns have names; those of a matrix that became a frame are numbers."""
    return any(isinstance(name, str) for name in frame.columns)


def _plain(values: pd.Series) -> Any:
    """A column (N,) in a type that a run keeps: integers to the last digit; what is no number, moment or text as text."""
    types = pd.api.types
    if values.isna().any() and types.infer_dtype(values, skipna=True) == "integer":
        return values.astype(object).where(values.notna(), None).to_numpy()
    if types.is_numeric_dtype(values) or types.is_bool_dtype(values) or types.is_datetime64_any_dtype(values):
        return values.to_numpy()
    texts = values.astype(object)
    return np.array([None if missing else str(value) for value, missing in zip(texts, texts.isna(), strict=True)], dtype=object)
