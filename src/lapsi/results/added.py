"""Measures that are added to a run: their columns, what these mean, and that they are of the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from lapsi.errors import InputError, first_line
from lapsi.results.columns import ADDED, SAMPLE, SOURCE, WHOLE, Column

if TYPE_CHECKING:
    from lapsi.results.scores import Scores

ORIGIN = ("version", "created", "settings", "engine", "source", "data_hash", "seconds", "verification")


@dataclass(frozen=True, slots=True, eq=False)
class Addition:
    """Columns to add to a run.

    Attributes:
        table: a column `id`, the new ones, and `label` where it is known.
        described: what the new ones mean, where lapsi does not know it.
        origin: of each measure, where it comes from; plain JSON values.
    """

    table: pd.DataFrame
    described: tuple[Column, ...]
    origin: dict[str, dict[str, Any]]


def measure_of_scores(scores: Scores, other: Scores) -> Addition:
    """The columns of the measures of `other` that `scores` have not.

    Raises:
        InputError: when there are none.
    """
    own = {column.measure for column in scores.columns} | {SAMPLE, SOURCE}
    new = [column for column in other.columns if column.measure not in own]
    if not new:
        raise InputError(
            f"The other scores hold no measure that is not there already ({', '.join(sorted(own - {SAMPLE, SOURCE}))}); rename "
            "its columns in to_pandas() and add them as a table."
        )
    provenance = asdict(other.provenance)
    whole = {name: provenance[name] for name in ORIGIN}
    origin = {column.measure: other.provenance.measures.get(column.measure, whole) for column in new}
    return Addition(other.table[["id", "label", *(column.name for column in new)]], tuple(new), origin)


def measure_of_table(table: pd.DataFrame, columns: Iterable[Column], origin: Mapping[str, Any]) -> Addition:
    """The columns of a table but `id`, described by `columns` or by their names.

    Raises:
        InputError: when it has no ids or nothing beside, or lacks a column that is described.
    """
    given = {column.name: column for column in columns}
    names, has = [name for name in table.columns if name != "id"], ", ".join(map(str, table.columns))
    if "id" not in table or not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise InputError(f"The table has the columns {has}; expected 'id' and the names of new ones, each once.")
    lost = [name for name in given if name not in names]
    if lost:
        raise InputError(f"The column {lost[0]!r} is described, but the table does not have it; it has {has}.")
    return Addition(table, tuple(given.get(name) or _named(name, table[name]) for name in names), dict(origin))


def _named(name: str, values: pd.Series) -> Column:
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    shown = "" if not is_number else WHOLE if pd.api.types.is_integer_dtype(values) else ".3g"
    return Column(name, name.replace("_", " "), "added to the run", ADDED, shown)


def aligned(run: pd.DataFrame, addition: Addition) -> dict[str, Any]:
    """The values of the new columns, in the order of the rows of a run.

    Raises:
        InputError: when a column is there already or cannot be stored, or the samples are not the same.
    """
    new = addition.table
    taken = [column.name for column in addition.described if column.name in run]
    if taken:
        raise InputError(f"The run has a column {taken[0]!r} already; rename the new one.")
    own, ids = pd.Index(run["id"]), pd.Index(new["id"])
    if not ids.is_unique:
        raise InputError(f"The new measure has the sample {ids[ids.duplicated()][0]!r} twice; expected one row a sample.")
    for some, others, what in ((own, ids, "no row of the sample"), (ids, own, "a row of no sample of the run:")):
        lost = some[~some.isin(others)].tolist()
        if lost:
            count = f" ({len(lost):,} in all)" if len(lost) > 1 else ""
            raise InputError(f"The new measure has {what} {lost[0]!r}{count}; expected the same samples, by id.")
    rows = new.iloc[ids.get_indexer(own)].reset_index(drop=True)
    if "label" in rows:
        _require_labels(run.reset_index(drop=True), rows)
    try:
        for column in addition.described:
            column.require(rows[column.name])
        pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowException, UnicodeError, TypeError, ValueError) as error:
        raise InputError(f"The new measure cannot be stored: {first_line(error)}.") from error
    return {column.name: rows[column.name].array for column in addition.described}


def _require_labels(run: pd.DataFrame, rows: pd.DataFrame) -> None:
    differs = run["label"].astype(str) != rows["label"].astype(str)
    if differs.any():
        first = int(differs.argmax())
        raise InputError(
            f"The sample {run['id'][first]!r} has the label {run['label'][first]!r} here and {rows['label'][first]!r} there; "
            "expected scores of the same samples."
        )
