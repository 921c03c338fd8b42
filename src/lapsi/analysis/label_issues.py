"""Likely label errors: what leave-one-out models say against the given labels, and how right that is where truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.option import Number

TRUTHS = ("original_label", "reference_label")
SHOWN = ["id", "label", "suggested_label", "label_quality", "suggested_probability", "lsi"]


@dataclass(frozen=True, slots=True)
class Found:
    """How well label errors are found, where the truth is known.

    Attributes:
        truth: the column that was taken for it.
        n_errors: samples whose label differs from it; those without a true label do not count.
        auroc, average_precision: of the ranking by label quality.
        at_noise_rate: share of errors among the `n_errors` samples ranked first: precision and recall at once.
        precision, recall: of the flagged samples; precision is NaN where none is flagged.
        suggestions_right: share of the flagged errors whose suggested label is the true one; NaN where there are none.
    """

    truth: str
    n_errors: int
    auroc: float
    average_precision: float
    at_noise_rate: float
    precision: float
    recall: float
    suggestions_right: float


@dataclass(frozen=True, slots=True, eq=False)
class LabelIssues:
    """Samples ranked from the least to the most trusted label.

    Attributes:
        table: id, label, suggested_label (missing where the leave-one-out model agrees), label_quality, suggested_probability,
            lsi, flagged, and what the source knows of the samples; one row a sample.
        threshold: labels of lower quality are flagged.
        found: how right that is, where the truth is known; else None.
    """

    table: pd.DataFrame
    threshold: float
    found: Found | None

    @property
    def n_flagged(self) -> int:
        """How many labels are flagged."""
        return int(self.table["flagged"].sum())


def label_issues(scores: Scores, threshold: float | None = None) -> LabelIssues:
    """Ranks the samples by the probability that a model which never saw them gives to their label.

    Args:
        scores: of the samples.
        threshold: flag labels of lower quality, in [0, 1]. None: 1/C, the probability of guessing: a label is flagged when the
            model trained on all other samples finds it less likely than a blind guess.

    Raises:
        InputError: when the threshold is no probability.
    """
    threshold = 1 / len(scores.classes) if threshold is None else threshold
    Number(0).check("threshold", threshold)
    threshold = float(threshold)
    if threshold > 1:
        raise InputError(f"threshold is {threshold}; expected a probability from 0 to 1.")
    table = scores.to_pandas()
    table["suggested_probability"] = scores.loo_proba.max(1)
    table["flagged"] = table["label_quality"] < threshold
    order = np.argsort(table["label_quality"].to_numpy(), kind="stable")
    carried = [name for name in table.columns if name in scores.carried]
    ranked = table.iloc[order][[*SHOWN, "flagged", *carried]].reset_index(drop=True)
    return LabelIssues(ranked, threshold, _found(ranked))


def _found(ranked: pd.DataFrame) -> Found | None:
    truth = next((name for name in TRUTHS if name in ranked), None)
    if truth is None:
        return None
    has_truth, differs = disagreement(ranked, truth)
    ranked, wrong = ranked[has_truth], differs[has_truth]
    known = ranked[truth].astype(str).to_numpy()
    n_errors = int(wrong.sum())
    if n_errors in (0, len(wrong)):
        return None
    distrust = -ranked["label_quality"].to_numpy()
    flagged = ranked["flagged"].to_numpy()
    hit = flagged & wrong
    suggested = ranked["suggested_label"].astype("string").fillna("").to_numpy()
    return Found(
        truth=truth,
        n_errors=n_errors,
        auroc=float(roc_auc_score(wrong, distrust)),
        average_precision=float(average_precision_score(wrong, distrust)),
        at_noise_rate=float(wrong[:n_errors].mean()),
        precision=_share(hit.sum(), flagged.sum()),
        recall=_share(hit.sum(), n_errors),
        suggestions_right=_share((suggested == known)[hit].sum(), hit.sum()),
    )


def disagreement(table: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a column of second labels holds one (n,), and where that differs from the given label (n,)."""
    known = table[column].notna().to_numpy()
    return known, known & (table[column].astype(str) != table["label"].astype(str)).to_numpy()


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
