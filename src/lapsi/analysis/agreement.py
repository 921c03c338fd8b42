"""How far two runs agree on which samples are informative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from lapsi.data.dataset import same_digest
from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings

FRACTIONS = (0.01, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Two runs on the samples that both scored.

    Attributes:
        n_common: their number.
        same_data: whether both runs saw the same data set; None where their hashes are of different versions.
        regularization: where the runs differ in it: by its name what the first and the second had. They are of two models then.
        spearman, pearson: correlation of lsi.
        pearson_log: Pearson correlation of ln(lsi); NaN where a value is 0.
        top_shared: for 1 % and 10 %: the share of the most informative samples of one run that are so in the other (as many
            as the fraction, rounded, at least one).
        target: what the column label of the table is called.
        table: id, label, lsi and rank (among the common samples) in both runs, those whose rank differs most first.
    """

    n_common: int
    same_data: bool | None
    regularization: dict[str, tuple[Any, Any]]
    spearman: float
    pearson: float
    pearson_log: float
    top_shared: dict[float, float]
    target: str
    table: pd.DataFrame


def compare(first: Scores, second: Scores) -> Agreement:
    """Matches the samples of two runs by id and compares their scores.

    Raises:
        InputError: when fewer than 3 samples have an id in both runs.
    """
    columns = ["id", "label", "lsi"]
    right = second.table[["id", "lsi"]]
    if pd.api.types.is_numeric_dtype(first.table["id"]) != pd.api.types.is_numeric_dtype(right["id"]):
        raise InputError(
            f"The ids of the two runs are of different types ({first.table['id'].dtype} and {right['id'].dtype}); compare runs "
            "whose ids name the same samples."
        )
    table = first.table[columns].merge(right, on="id", suffixes=("_a", "_b"))
    if len(table) < 3:
        raise InputError(f"The two runs have {len(table)} samples in common; expected at least 3 with the same id.")
    a, b = table["lsi_a"].to_numpy(), table["lsi_b"].to_numpy()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("A run holds LSI that is not finite; score its data again.")
    for name in ("a", "b"):
        table[f"rank_{name}"] = table[f"lsi_{name}"].rank(method="first", ascending=False).astype("int64")
    distance = (table["rank_a"] - table["rank_b"]).abs()
    ordered = table.iloc[np.argsort(-distance.to_numpy(), kind="stable")].reset_index(drop=True)
    positive = bool((a > 0).all() and (b > 0).all())
    return Agreement(
        n_common=len(table),
        same_data=same_digest(first.provenance.data_hash, second.provenance.data_hash),
        regularization=_differing(first, second),
        spearman=_correlation(spearmanr, a, b),
        pearson=_correlation(pearsonr, a, b),
        pearson_log=_correlation(pearsonr, np.log(a), np.log(b)) if positive else float("nan"),
        top_shared={fraction: _shared(table, fraction) for fraction in FRACTIONS},
        target=next(column.title for column in first.columns if column.name == "label"),
        table=ordered,
    )


def _differing(first: Scores, second: Scores) -> dict[str, tuple[Any, Any]]:
    """Weight decay and scaling of the features, where they are not the same."""
    a, b = (stored_settings(run.provenance.settings) for run in (first, second))
    pairs = {
        "weight decay": (a.objective.weight_decay, b.objective.weight_decay),
    }
    if isinstance(a, Settings) and isinstance(b, Settings):
        pairs["scaling of the features"] = (a.model.standardize, b.model.standardize)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _correlation(method: Callable[..., Any], a: np.ndarray, b: np.ndarray) -> float:
    """NaN where one of the runs is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(method(a, b).statistic)


def _shared(table: pd.DataFrame, fraction: float) -> float:
    n_top = max(1, round(fraction * len(table)))
    return float(((table["rank_a"] <= n_top) & (table["rank_b"] <= n_top)).sum() / n_top)


def rank_correlations(scores: Scores) -> pd.DataFrame:
    """Spearman's correlations of LSI and the other measures of a run with each other, by their columns.

    Raises:
        InputError: when the run holds no other measure.
    """
    others = [column.name for column in scores.columns if column.measure in scores.provenance.measures and column.direction]
    if not others:
        raise InputError("The run holds no measure beside LSI; add some with lapsi measure RUN (in Python lapsi.measure).")
    return scores.table[["lsi", *others]].corr(method="spearman")
