"""Likely wrong numbers, by how far they lie from what a model which never saw the sample predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, final

import numpy as np
import pandas as pd

from lapsi.analysis.issues.base import Issues
from lapsi.errors import InputError
from lapsi.results.columns import ISSUES, Column
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.evidence.numbers import DOUBTED_BELOW
from lapsi.results.scores import Scores
from lapsi.settings import task

SHOWN = ("id", "label", "loo_label", "loo_deviation", "label_quality", "doubted_label", "suggested_label", "lsi")
SUGGESTED = "the leave-one-out prediction where the target is flagged, else missing"


@final
class NumberIssues(Issues):
    """A row a sample."""

    task: ClassVar[str] = task.REGRESSION
    noun: ClassVar[str] = "target"
    plural: ClassVar[str] = "targets"
    meaning: ClassVar[str] = (
        "a right target lies as far from what a model that never saw the sample predicts with a probability below"
    )
    better: ClassVar[str] = "suggestions nearer to the truth, of flagged errors"

    def columns(self, outputs: np.ndarray) -> list[Column]:
        known = evidence_of(self.task).columns(outputs)
        known["label_quality"] = replace(known["label_quality"], format=ISSUES["label_quality"].format)
        known["suggested_label"] = replace(known["suggested_label"], help=SUGGESTED)
        return [known[name] for name in SHOWN if name in known]

    def threshold(self, scores: Scores) -> float:
        """Three standard deviations."""
        return DOUBTED_BELOW

    def reason(self, scores: Scores) -> str:
        return "three standard deviations"

    def rank(self, scores: Scores, threshold: float) -> pd.DataFrame:
        quality = scores.table["label_quality"].to_numpy()
        flagged = quality < threshold
        suggested = scores.table["loo_label"].convert_dtypes().mask(~flagged)
        rows = scores.table.assign(suggested_label=suggested, flagged=flagged).iloc[np.argsort(quality, kind="stable")]
        names = [column.name for column in self.columns(scores.outputs)]
        return rows[[*names, "flagged", *scores.carried]].reset_index(drop=True)

    def wrong(self, scores: Scores, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        if len(scores.outputs) == 1 and not pd.api.types.is_numeric_dtype(ranked[truth]):
            raise InputError(
                f"The column {truth!r} holds values of type {ranked[truth].dtype}; expected numbers, as the targets."
            )
        return scores.evidence.differs(ranked, ranked[truth])

    def right(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """Which lie nearer to the truth than what is given; of several numbers none is told."""
        if not pd.api.types.is_numeric_dtype(ranked["label"]):
            return np.zeros(len(ranked), dtype=bool)
        known = ranked[truth].to_numpy(np.float64)
        suggested = ranked["suggested_label"].to_numpy(np.float64, na_value=np.nan)
        nearer: np.ndarray = np.abs(suggested - known) < np.abs(ranked["label"].to_numpy() - known)
        return nearer
