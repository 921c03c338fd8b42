"""Which columns of a table are features at all: identifiers, groups and what says nothing are told by names and values."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pandas.api.types import is_string_dtype

from lapsi.data.tables.column import GROUP, IDS, LEFT_OUT, TableColumn

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of names such as patient_id, PatientId, patientID
IDENTIFIERS = {"id", "ids", "uid", "uuid", "guid", "identifier"}
CONTRIBUTORS = {
    "annotator", "author", "client", "contributor", "customer", "group", "household", "participant", "patient", "rater",
    "speaker", "subject", "user",
}  # fmt: skip
NUMBERED = {"", "index", "row", "row_number", "level_0"}  # and "Unnamed: 0", as pandas writes an index
PROSE = 3  # words of the middle value of texts that are no names


def roles_of(frame: pd.DataFrame, *, has_ids: bool, has_group: bool, by_words: bool = True) -> dict[str, TableColumn]:
    """The columns that are no features, by name and with the reason; those that name the samples best become ids and group.

    Args:
        frame: the table without labels and other columns whose use is known.
        has_ids, has_group: whether these are known already.
        by_words: whether words that all differ are identifiers; dates are such words before they are read.
    """
    told = {name: _role(name, frame[name], by_words) for name in map(str, frame.columns)}
    ids, groups = ([name for name, (role, _) in told.items() if role == wanted] for wanted in (IDS, GROUP))
    ids.sort(key=lambda name: not is_identifier(name))
    best = {*([] if has_ids else ids[:1]), *([] if has_group else groups[:1])}
    found = {}
    for name, (role, why) in told.items():
        if name in best:
            found[name] = TableColumn(name, role, f"{'names' if role == IDS else 'group of'} the samples, {why}")
        elif role:
            found[name] = TableColumn(name, LEFT_OUT, f"left out: {why}")
    return found


def _role(name: str, values: pd.Series, by_words: bool) -> tuple[str, str]:
    """Role and reason; "" for a feature."""
    known = values.dropna()
    try:
        n_distinct = int(known.nunique())
    except TypeError:  # lists, objects
        return LEFT_OUT, f"it holds {type(known.iloc[0]).__name__}, of which no features are made"
    if n_distinct == 0 or (n_distinct == 1 and len(known) == len(values)):
        return LEFT_OUT, "the same for every sample" if n_distinct else "it is empty"
    if is_numbered(name, values):
        return LEFT_OUT, "it numbers the rows"
    identifies = is_identifier(name) or (by_words and n_distinct == len(values) and is_text(known) and not is_prose(known))
    if n_distinct == len(values):
        return (IDS, "a value of its own for each") if identifies else ("", "")
    return (GROUP, f"{n_distinct:,} values") if identifies or is_contributor(name) else ("", "")


def is_identifier(name: str) -> bool:
    """Whether a column is called as one that identifies something."""
    words = _words(name)
    return bool(words) and words[-1] in IDENTIFIERS


def is_contributor(name: str) -> bool:
    """Whether a column is called as one of people or groups."""
    words = _words(name)
    return len(words) == 1 and words[0] in CONTRIBUTORS


def is_numbered(name: str, values: pd.Series) -> bool:
    """Whether a column is the number of the row: called so, and counting up by one."""
    if name.lower() not in NUMBERED and not name.startswith("Unnamed: "):
        return False
    if not pd.api.types.is_integer_dtype(values) or values.isna().any():
        return False
    return bool((np.diff(values.to_numpy(np.int64)) == 1).all())


def is_text(values: pd.Series) -> bool:
    """Whether a column holds strings, be it as categories."""
    whole = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    return all(isinstance(value, str) for value in whole) if whole.dtype == np.dtype(object) else is_string_dtype(whole)


def is_prose(values: pd.Series) -> bool:
    """Whether texts without gaps have several words in the middle."""
    return float(values.astype(str).str.count(r"\S+").median()) >= PROSE


def _words(name: str) -> list[str]:
    return [word.lower() for word in WORDS.findall(name)]
