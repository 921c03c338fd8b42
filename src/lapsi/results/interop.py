"""Scores where people already work: pandas, Hugging Face datasets, FiftyOne, quanda. Plain values; none of them is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lapsi.data.targets import SEPARATOR
from lapsi.errors import InputError
from lapsi.results.evidence.labels import states_of
from lapsi.results.scores import Scores
from lapsi.settings.task import MULTILABEL

if TYPE_CHECKING:
    from torch import Tensor

WRITTEN = ("lsi", "rank", "label_quality", "suggested_label")


def written(scores: Scores) -> list[str]:
    """The columns that `add_columns` adds where none are named: those of every kind of targets, then those of its own."""
    return [*WRITTEN, *(name for name in scores.evidence.shown if name not in WRITTEN)]


def add_columns(
    data: Any, scores: Scores, columns: Sequence[str] | None = None, ids: str | None = None, prefix: str = "lapsi_"
) -> Any:
    """A copy of a table or a Hugging Face `Dataset` with columns of the scores; missing where a row was not scored.

    Args:
        data: pandas frame, or anything with `add_column(name, list)` and `len`, as `datasets.Dataset`.
        scores: of its rows.
        columns: of the scores to add; None: those of `written`.
        ids: its column that holds the ids of the scores; None: its rows are those of the source that was scored.
        prefix: of the new names.

    Raises:
        InputError: when a column is unknown or taken, or a scored sample does not occur.
    """
    columns = written(scores) if columns is None else columns
    names = list(data.columns) if isinstance(data, pd.DataFrame) else list(data.column_names)
    unknown = [name for name in columns if name not in scores.table]
    taken = [prefix + name for name in columns if prefix + name in names]
    if unknown or taken:
        raise InputError(
            f"The scores have no column {unknown[0]!r}." if unknown else f"The data have a column {taken[0]!r} already."
        )
    if ids is not None and ids not in names:
        raise InputError(f"The data have no column {ids!r}; they have {', '.join(map(str, names))}.")
    n_source = _n_source(scores)
    if ids is None and n_source is not None and len(data) != n_source:
        raise InputError(f"The data have {len(data)} rows, the run is of {n_source} samples; name the column of ids (--ids).")
    keys = pd.Index(range(len(data))) if ids is None else pd.Index(data[ids][:]).astype(str)
    own = scores.table["row"] if ids is None else scores.table["id"].astype(str)
    indexed = scores.table.set_index(pd.Index(own))
    lost = indexed.index.difference(keys)
    if len(lost) > 0:
        held = f", which hold e.g. {keys[0]!r} in {ids!r}" if ids is not None and len(keys) > 0 else ""
        raise InputError(f"{len(lost)} scored samples do not occur in the data, e.g. {lost[0]!r}{held}.")
    aligned = indexed[list(columns)].convert_dtypes().reindex(keys)  # whole numbers stay whole beside gaps
    if isinstance(data, pd.DataFrame):
        return data.assign(**{prefix + name: aligned[name].array for name in columns})
    for name in columns:
        data = data.add_column(prefix + name, _plain(aligned[name]))
    return data


def _n_source(scores: Scores) -> int | None:
    """Rows of the source; None where a run that did not keep it left some out, so that their number is not known."""
    known, n_samples = scores.provenance.n_source, scores.provenance.n_samples
    return n_samples if known is None and (scores.table["row"] < n_samples).all() else known


def to_fiftyone(scores: Scores, by: str = "path") -> dict[str, dict[str, Any]]:
    """Fields of each sample by its file path (or id), as `dataset.set_values(field, values, key_field="filepath")` takes them.

    Returns:
        For each field lsi, lsi_rank, label_quality, mistakenness (1 − label_quality, as `compute_mistakenness` names it) and
        suggested_label (of samples with several labels a list): plain values by key.

    Raises:
        InputError: when the run has no such column.
    """
    if by not in scores.table:
        raise InputError(f"The run has no column {by!r} to name samples by; use by='id'.")
    keys = [str(key) for key in scores.table[by]]
    table = scores.table
    fields = {
        "lsi": table["lsi"],
        "lsi_rank": table["rank"],
        "label_quality": table["label_quality"],
        "mistakenness": 1 - table["label_quality"],
        "suggested_label": _suggested(scores),
    }
    return {name: dict(zip(keys, _plain(values), strict=True)) for name, values in fields.items()}


def to_label_lists(scores: Scores) -> list[list[int]]:
    """The labels of each sample as positions in `scores.classes`: what cleanlab's `multilabel_classification` counts by, beside
    `scores.loo_proba`.

    Raises:
        InputError: when samples do not have several labels.
    """
    if scores.task != MULTILABEL:
        raise InputError(f"The targets of the run are those of task {scores.task!r}; this is for several labels a sample.")
    return [np.flatnonzero(each).tolist() for each in states_of(scores.table["label"], scores.classes)]


def to_self_influence(scores: Scores) -> Tensor:
    """LSI (N,) float32 in the order of the training set: what quanda's metrics on self-influence rank by.

    Raises:
        InputError: when not every sample was scored.
    """
    rows = scores.table["row"].to_numpy()
    if not np.array_equal(np.sort(rows), np.arange(scores.provenance.n_samples)):
        raise InputError(f"{len(scores)} of {scores.provenance.n_samples} samples were scored, or some could not be read.")
    import torch  # no other way to look at scores needs it

    return torch.from_numpy(scores.lsi[np.argsort(rows)].astype(np.float32))


def _suggested(scores: Scores) -> pd.Series:
    suggested = scores.table["suggested_label"]
    if scores.task != MULTILABEL:
        return suggested
    return suggested.astype(object).map(lambda text: [each for each in text.split(SEPARATOR) if each], na_action="ignore")


def _plain(values: pd.Series) -> list[Any]:
    """Python values, None where missing."""
    return values.astype(object).where(values.notna(), None).tolist()
