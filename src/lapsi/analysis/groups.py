"""Scores rolled up by contributor, class, quarter of a number or any other column."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.task import MULTILABEL, REGRESSION

TOP_SHARE = 0.1
NO_GROUP = "(none)"


def group_column(scores: Scores, by: str | None) -> str:
    """The column to group by, `by`, also under the name that the source has for the group.

    None: "group" where the run has one, else "label".

    Raises:
        InputError: when there is no such column, naming those that there are.
    """
    usable = ["label", *scores.carried]
    column = by or ("group" if "group" in usable else "label")
    column = "group" if column not in usable and column == scores.provenance.group_name else column
    if column not in usable:
        raise InputError(f"The run has no column {column!r} to group by; it has {', '.join(_called(scores, usable))}.")
    if not scores.table[column].map(pd.api.types.is_hashable).all():
        raise InputError(f"The column {column!r} holds lists; expected one name or number for each sample.")
    return column


def _called(scores: Scores, columns: list[str]) -> list[str]:
    """Columns as the source calls them."""
    return [scores.provenance.group_name if name == "group" else name for name in columns]


def roll_up(scores: Scores, by: str | None = None) -> pd.DataFrame:
    """One row a group, the largest sum of LSI first.

    Columns: samples; lsi_sum, lsi_mean and lsi_median (nats); share_of_lsi; top_decile: share of the group's samples among the
    tenth of all samples with the largest LSI; doubted: samples whose target is doubted. By label,
    numbers are rolled up by quarter of the (first) target, and samples with several labels by all they have. The sum is no LSI
    of the group: samples that say the same each look redundant and are not together, see `lapsi.leave_group_out`.

    Raises:
        InputError: as `group_column`.
    """
    column = group_column(scores, by)
    table = scores.table
    n_top = max(1, round(TOP_SHARE * len(table)))
    groups = _groups(scores, column)
    rows = table.assign(top=table["rank"] <= n_top, doubted=scores.doubted).groupby(groups, sort=False)
    summed = pd.DataFrame(
        {
            "samples": rows.size(),
            "lsi_sum": rows["lsi"].sum(),
            "lsi_mean": rows["lsi"].mean(),
            "lsi_median": rows["lsi"].median(),
            "top_decile": rows["top"].mean(),
            "doubted": rows["doubted"].sum().astype(np.int64),
        }
    )
    total = float(table["lsi"].sum())
    summed.insert(4, "share_of_lsi", summed["lsi_sum"] / total if total > 0 else 0.0)
    return summed.sort_values("lsi_sum", ascending=False, kind="stable").rename_axis(column)  # it may be called as a sum is


def _groups(scores: Scores, column: str) -> pd.Series:
    """(n,) the group of each sample."""
    values = scores.table[column].astype(object)
    if column == "label" and scores.task == REGRESSION:
        for name, rows in scores.evidence.parts(scores.table, scores.outputs):
            values.iloc[rows] = name
    if column == "label" and scores.task == MULTILABEL:
        values = values.where(values != "")
    return values.where(values.notna(), NO_GROUP).rename(None)
