"""Features of the columns of a table: numbers as they are, categories one by one, parts of dates, texts in few dimensions.

Numbers need nothing but scikit-learn; all else goes through skrub (the extra `tables`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from lapsi.data.tables.column import FEATURE, GROUP, IDS, LEFT_OUT, TableColumn
from lapsi.data.tables.roles import is_prose, is_text, roles_of
from lapsi.errors import InputError, first_line

FEW = 40  # categories below which each gets a feature of its own, as in skrub
TEXT_DIMENSIONS = 30
BOXED = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")  # objects that are numbers, as pandas says
NAMED = 4  # columns in a message


class NoFeaturesError(InputError):
    """No column of a table can be made features of."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A table as features.

    Attributes:
        features: (N, d) float64, finite.
        columns: what became of each column, in their order.
        by: what encoded it.
        is_plain: whether the features are the columns themselves, number for number.
        vectors: names of the columns that hold several numbers a sample.
    """

    features: np.ndarray
    columns: tuple[TableColumn, ...]
    by: str
    is_plain: bool
    vectors: frozenset[str] = frozenset()

    def names(self, role: str) -> list[str]:
        """Of the columns of a role."""
        return [column.name for column in self.columns if column.role == role]


def encode(frame: pd.DataFrame, place: str, *, chosen: bool, has_ids: bool = True, has_group: bool = True) -> Encoded:
    """The features of a table.

    Args:
        frame: N rows; columns with names that are strings.
        place: how the table is called in messages.
        chosen: whether a person named these columns as features; then none is left out.
        has_ids, has_group: whether it is known what names the samples and their groups, which else a column may do.

    Raises:
        NoFeaturesError: when no column can be used.
        InputError: when skrub is needed and missing; when there are no rows, or a number is infinite; and when there are more
            categories than samples.
    """
    if len(frame) == 0:
        raise InputError(f"{place} has no rows; expected at least 2.")
    names, frame = [str(name) for name in frame.columns], frame.rename(columns=str)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"Two columns of {place} are named {repeated[0]!r}; rename one of them.")
    complex_ones = [name for name in names if pd.api.types.is_complex_dtype(frame[name])]
    if complex_ones:
        raise InputError(f"Column {complex_ones[0]!r} of {place} holds complex numbers; expected real ones: take their parts.")
    numbers = {name: _numbers(frame[name]) for name in names}
    vectors = {name: found for name in names if (found := _vectors(name, frame[name], place)) is not None}
    apart = {} if chosen else roles_of(frame.drop(columns=list(vectors)), has_ids=has_ids, has_group=has_group, by_words=False)
    others = [name for name in names if numbers[name] is None and name not in vectors and name not in apart]
    clean = _cleaned(frame[others], place, [name for name in numbers if name not in others and name not in apart])
    if others and not chosen:
        known = {each.role for each in apart.values()}
        apart |= roles_of(clean, has_ids=has_ids or IDS in known, has_group=has_group or GROUP in known)
    parts: dict[str, _Part] = {}
    for name, found in numbers.items():
        if name in apart:
            continue
        if name in vectors:
            parts[name] = _Part(vectors[name], f"{vectors[name].shape[1]} numbers", is_plain=True)
            continue
        values = found if found is not None else _numbers(clean[name])
        parts[name] = _of_numbers(name, values, place) if values is not None else _of_others(clean[name])
    columns = tuple(apart[name] if name in apart else parts[name].column(name) for name in names)
    used = [part for part in parts.values() if part.values.shape[1] > 0]
    if not used:
        told = "; ".join(f"{column.name} ({column.became})" for column in columns[:NAMED]) or "no column beside the labels"
        more = f"; and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
        raise NoFeaturesError(f"{place} has no column that features can be made of: {told}{more}.")
    _require_fewer_categories(parts, len(frame), place)
    is_plain = all(part.is_plain for part in used)
    by = f"skrub {version('skrub')}" if others else "numbers as they are" if is_plain else "numbers, gaps filled"
    return Encoded(np.concatenate([part.values for part in used], axis=1), columns, by, is_plain, frozenset(vectors))


def gaps_of(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    """Which cells (N rows, bool) `encode` takes for missing: empty ones, and words such as `?` and `NA` beside words.

    Raises:
        InputError: when skrub is needed and missing.
    """
    numbers = {name: _numbers(frame[name]) for name in frame}
    clean = _cleaned(frame[[name for name, found in numbers.items() if found is None]], place, [])
    gaps = {name: clean[name].isna() if found is None else np.isnan(found) for name, found in numbers.items()}
    return pd.DataFrame({name: np.asarray(each) for name, each in gaps.items()}, columns=list(frame))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The features (N, k) of one column; `categories`: how many of them are single categories."""

    values: np.ndarray
    became: str
    categories: int = 0
    is_plain: bool = False

    def column(self, name: str) -> TableColumn:
        n_features = self.values.shape[1]
        return TableColumn(name, FEATURE if n_features else LEFT_OUT, self.became, n_features)


def _numbers(values: pd.Series) -> np.ndarray | None:
    """(N,) float64, NaN where one is missing; None where the column holds something else."""
    types = pd.api.types
    if types.is_timedelta64_dtype(values):
        return values.dt.total_seconds().to_numpy(np.float64)
    if values.dtype == np.dtype(object):
        return values.astype(np.float64).to_numpy() if types.infer_dtype(values, skipna=True) in BOXED else None
    is_number = types.is_numeric_dtype(values) or types.is_bool_dtype(values)
    return values.to_numpy(np.float64, na_value=np.nan) if is_number and not types.is_complex_dtype(values) else None


def _vectors(name: str, values: pd.Series, place: str) -> np.ndarray | None:
    """(N, k) float64 of a column of lists or arrays of k numbers each; None where it holds something else.

    Raises:
        InputError: when one of them is missing, or not finite.
    """
    known = values.dropna() if values.dtype == np.dtype(object) else values.iloc[:0]
    if len(known) == 0 or not all(isinstance(each, list | tuple | np.ndarray) for each in known):
        return None
    if len({len(each) for each in known}) > 1 or np.asarray(known.iloc[0]).dtype.kind not in "iuf":
        return None
    try:
        found = np.array([np.asarray(each, np.float64) for each in known])
    except (TypeError, ValueError):
        return None
    if found.ndim != 2 or found.shape[1] == 0:
        return None
    wrong = values.isna().to_numpy(copy=True)
    wrong[~wrong] = ~np.isfinite(found).all(1)
    if wrong.any():
        told = "no finite numbers" if len(known) == len(values) else "a gap, or no finite numbers,"
        raise InputError(f"Column {name!r} of {place} holds {told} in row {int(np.argmax(wrong))}; mend or --drop it.")
    return found


def _of_numbers(name: str, values: np.ndarray, place: str) -> _Part:
    """A column of numbers; its gaps filled with the median, and marked by a second feature."""
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise InputError(f"Column {name!r} of {place} holds an infinite number, the first in row {row}; mend or --drop it.")
    n_gaps = int(np.isnan(values).sum())
    if n_gaps == 0:
        return _Part(values[:, None], "number", is_plain=True)
    filled, median = _filled(values[:, None])
    return _Part(filled, f"number, {_counted(n_gaps, 'gap')} filled with the median {median[0]:g} and marked")


def _filled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N, k) without gaps and a feature that marks the rows that had some; and the medians (k,)."""
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    filled = imputer.fit_transform(values)
    gaps = np.isnan(values).any(axis=1)
    return (np.c_[filled, gaps.astype(np.float64)] if gaps.any() else filled), imputer.statistics_


def _cleaned(frame: pd.DataFrame, place: str, plain: Sequence[str]) -> pd.DataFrame:
    """Columns that are no numbers as skrub reads them: dates and numbers that are written as text, words for gaps."""
    if frame.shape[1] == 0:
        return frame
    skrub = _skrub(list(frame.columns), place, plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats of dates that are guessed
        return skrub.Cleaner(drop_null_fraction=None, parse_numbers=True).fit_transform(frame.reset_index(drop=True))


def _skrub(names: list[str], place: str, plain: Sequence[str]) -> Any:
    try:
        import skrub
    except ImportError as error:
        shown = ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        alone = f", or score the numbers alone: --features {','.join(plain)}" if plain else ""
        raise InputError(
            f"{place} has columns that are no numbers ({shown}), which need the extra 'tables' ({first_line(error)}): "
            f"pip install 'lapsi[tables]'{alone}."
        ) from error
    return skrub


def _of_others(values: pd.Series) -> _Part:
    """A column of categories, dates or texts."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return _of_dates(values)
    if not is_text(values.dropna()) and not isinstance(values.dtype, pd.CategoricalDtype):
        held = type(values.dropna().iloc[0]).__name__ if values.notna().any() else "nothing"
        return _Part(np.empty((len(values), 0)), f"left out: it holds {held}, of which no features are made")
    known = values.dropna()
    n_distinct = int(known.nunique())
    many_words = is_text(known) and len(known) > 0 and is_prose(known) and 2 * n_distinct > len(known)
    return _of_texts(values) if n_distinct >= FEW or many_words else _of_categories(values)


def _of_categories(values: pd.Series) -> _Part:
    """A feature for each category; what is missing is one."""
    words = values.astype(object).where(values.notna(), None)
    features = OneHotEncoder(sparse_output=False, drop="if_binary").fit_transform(words.to_frame())
    n_gaps, n_known = int(values.isna().sum()), int(values.nunique())
    gaps = f", {_counted(n_gaps, 'gap')} as one more" if n_gaps else ""
    return _Part(features, f"one-hot, {n_known} categories{gaps}", features.shape[1])


def _of_dates(values: pd.Series) -> _Part:
    """Year, month, day, hour where there is one, weekday and seconds since 1970."""
    from skrub import DatetimeEncoder

    found = DatetimeEncoder(add_weekday=True).fit_transform(values)
    names = [str(name).removeprefix(f"{values.name}_").replace("_", " ") for name in found.columns]
    told = f"date: {', '.join(names)}"
    n_gaps = int(values.isna().sum())
    if n_gaps:
        told += f"; {_counted(n_gaps, 'gap')} filled with the median and marked"
    return _Part(_filled(found.to_numpy(np.float64))[0], told)


def _of_texts(values: pd.Series) -> _Part:
    """Truncated SVD of the tf-idf of pieces of 3 and 4 letters; what is missing is zero, and marked."""
    from skrub import StringEncoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few pieces, which make fewer dimensions
        found = StringEncoder(TEXT_DIMENSIONS, random_state=0).fit_transform(values.astype(object).astype("string"))
    features, gaps = found.to_numpy(np.float64), values.isna().to_numpy()
    told = f"text, {int(values.nunique()):,} different, SVD of {features.shape[1]} dimensions"
    if gaps.any():
        features = np.c_[features, gaps.astype(np.float64)]
        told += f"; {_counted(int(gaps.sum()), 'gap')} marked"
    return _Part(features, told)


def _require_fewer_categories(parts: dict[str, _Part], n_rows: int, place: str) -> None:
    counts = {name: part.categories for name, part in parts.items() if part.categories}
    if sum(counts.values()) > n_rows:
        widest = sorted(counts, key=lambda name: -counts[name])[:NAMED]
        told = ", ".join(f"{name} {counts[name]}" for name in widest)
        raise InputError(
            f"{place} has {n_rows} rows but {sum(counts.values())} categories ({told}), more than can be told apart; leave the "
            "widest columns out with --drop, or name those that count with --features."
        )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
