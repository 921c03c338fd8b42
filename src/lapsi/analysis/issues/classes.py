"""Likely wrong classes, by the probability that a model which never saw the sample gives to its label."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import pandas as pd

from lapsi.analysis.issues.base import Issues
from lapsi.results.columns import COLUMNS, ISSUES, Column
from lapsi.results.evidence.classes import doubt_line
from lapsi.results.scores import Scores
from lapsi.settings import task

SHOWN = ("id", "label", "suggested_label", "label_quality", "suggested_probability", "lsi")


@final
class ClassIssues(Issues):
    """A row a sample."""

    task: ClassVar[str] = task.CLASSES
    noun: ClassVar[str] = "label"
    plural: ClassVar[str] = "labels"
    meaning: ClassVar[str] = "a model that never saw the sample gives its label a probability below"
    better: ClassVar[str] = "suggestions right, of flagged errors"

    def columns(self, outputs: np.ndarray) -> list[Column]:
        return [(COLUMNS | ISSUES)[name] for name in SHOWN]

    def threshold(self, scores: Scores) -> float:
        """1/C, the probability of guessing; of two classes 1/3."""
        return doubt_line(scores.classes)

    def reason(self, scores: Scores) -> str:
        return "less than a blind guess" if len(scores.classes) > 2 else "half as likely as the other"

    def rank(self, scores: Scores, threshold: float) -> pd.DataFrame:
        quality = scores.table["label_quality"].to_numpy()
        added = {"suggested_probability": scores.loo_proba.max(1), "flagged": quality < threshold}
        rows = scores.table.assign(**added).iloc[np.argsort(quality, kind="stable")]
        return rows[[*SHOWN, "flagged", *scores.carried]].reset_index(drop=True)

    def wrong(self, scores: Scores, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        return scores.evidence.differs(ranked, ranked[truth])

    def right(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        suggested = ranked["suggested_label"].astype("string").fillna("").to_numpy()
        same: np.ndarray = suggested == ranked[truth].astype(str).to_numpy()
        return same
