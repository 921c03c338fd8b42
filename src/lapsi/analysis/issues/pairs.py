"""Likely wrong pairs, by the probability that a model which never saw the pair finds one side by the other."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import pandas as pd

from lapsi.analysis.issues.base import Issues
from lapsi.results.columns import Column
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.scores import Scores
from lapsi.settings import task

SHOWN = ("id", "label_quality", "loo_label", "rank_text", "rank_image", "loo_cosine", "lsi")


@final
class PairIssues(Issues):
    """A row a pair."""

    task: ClassVar[str] = task.PAIRS
    noun: ClassVar[str] = "pair"
    plural: ClassVar[str] = "pairs"
    meaning: ClassVar[str] = "a model that never saw the pair finds one side by the other with a probability below"
    better: ClassVar[str] = "suggestions right, of flagged errors"

    def columns(self, outputs: np.ndarray) -> list[Column]:
        known = evidence_of(self.task).columns(outputs)
        return [known[name] for name in SHOWN]

    def threshold(self, scores: Scores) -> float:
        """1/N, the probability of guessing."""
        return 1 / scores.provenance.n_samples

    def reason(self, scores: Scores) -> str:
        return "less than a blind guess"

    def rank(self, scores: Scores, threshold: float) -> pd.DataFrame:
        quality = scores.table["label_quality"].to_numpy()
        rows = scores.table.assign(flagged=quality < threshold).iloc[np.argsort(quality, kind="stable")]
        return rows[[*SHOWN, "flagged", *scores.carried]].reset_index(drop=True)

    def wrong(self, scores: Scores, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """Where a second text of the pair differs from its own."""
        different: np.ndarray = (ranked[truth].astype(str) != ranked["text"].astype(str)).to_numpy()
        return different

    def right(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """None: nothing is suggested."""
        return np.zeros(len(ranked), dtype=bool)
