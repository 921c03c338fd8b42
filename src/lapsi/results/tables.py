"""The tables of a run: a row a sample, and a row a class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lapsi.results.columns import CLASSES, COLUMNS


def build_table(
    samples: pd.DataFrame, labels: np.ndarray, classes: np.ndarray, loo_log_proba: np.ndarray, measures: dict[str, np.ndarray]
) -> pd.DataFrame:
    """The table of `Scores`, its columns in the order of the registry.

    Args:
        samples: (n rows) columns id and row.
        labels: (n,) codes, positions in `classes` (C,).
        loo_log_proba: (n, C) log-probabilities under the models that never saw the sample.
        measures: the columns lsi_mean, lsi_curvature, train_probability, shift_norm and those that are optional, (n,) each.
    """
    values = {
        "id": samples["id"],
        "row": samples["row"],
        "label": classes[labels],
        "lsi": measures["lsi_mean"] + measures["lsi_curvature"],
        **measures,
        **class_evidence(labels, classes, loo_log_proba),
    }
    table = with_ranks(pd.DataFrame({name: values[name] for name in COLUMNS if name in values}))
    return table[[name for name, column in COLUMNS.items() if name in table or not column.optional]]


def class_evidence(labels: np.ndarray, classes: np.ndarray, loo_log_proba: np.ndarray) -> dict[str, Any]:
    """What models that never saw the samples say of their labels: columns (n,) by name; arguments as `build_table`."""
    own = np.arange(len(labels))
    given = np.exp(loo_log_proba[own, labels])
    others = loo_log_proba.copy()
    others[own, labels] = -np.inf
    predicted = loo_log_proba.argmax(1)
    return {
        "loo_probability": given,
        "loo_label": classes[predicted],
        "loo_margin": given - np.exp(others.max(1)),
        "loo_loss": -loo_log_proba[own, labels],
        # of probability, margin, loss over entropy and LSI the probability found planted label errors best (CIFAR-10 features)
        "label_quality": given,
        "suggested_label": pd.Series(classes[predicted]).convert_dtypes().mask(predicted == labels),
    }


def with_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the positions of its rows by lsi, among all and among those of the same label."""
    return table.assign(rank=_rank(table["lsi"]), rank_in_class=_rank(table.groupby("label")["lsi"]))


def _rank(values: Any) -> pd.Series:
    return values.rank(method="first", ascending=False).astype("int64")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `CLASSES`, a row a class ordered by median LSI, and a last row "all"."""
    groups = [(str(name), part) for name, part in table.groupby("label", sort=True)]
    rows = pd.DataFrame([_summary_row(name, part) for name, part in groups]).sort_values("lsi_median")
    whole = pd.DataFrame([_summary_row("all", table)])
    return pd.concat([rows, whole], ignore_index=True).set_index("label")[list(CLASSES)]


def _summary_row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    return {
        "label": name,
        "samples": len(part),
        "lsi_median": part["lsi"].median(),
        "lsi_mean": part["lsi"].mean(),
        "lsi_max": part["lsi"].max(),
        "curvature_share": part["lsi_curvature"].sum() / total if (total := part["lsi"].sum()) > 0 else 0.0,
        "loo_accuracy": part["suggested_label"].isna().mean(),
        "contradicted": int(part["suggested_label"].notna().sum()),
    }
