"""The table of a run: a row a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lapsi.results.columns import Column


def build_table(values: Mapping[str, Any], columns: Mapping[str, Column]) -> pd.DataFrame:
    """The table of `Scores`: the given columns (n,) and the ranks, in the order of the registry, those that are optional where
    they are given.
    """
    table = pd.DataFrame({name: values[name] for name in columns if name in values})
    table = with_ranks(table, by_class="rank_in_class" in columns)
    return table[[name for name, column in columns.items() if name in table or not column.optional]]


def with_ranks(table: pd.DataFrame, by_class: bool) -> pd.DataFrame:
    """The table with the positions of its rows by lsi, among all and, with classes, among those of the same label."""
    ranked = table.assign(rank=_rank(table["lsi"]))
    return ranked.assign(rank_in_class=_rank(table.groupby("label")["lsi"])) if by_class else ranked


def _rank(values: Any) -> pd.Series:
    return values.rank(method="first", ascending=False).astype("int64")
