"""What likely errors of targets of one kind are ranked by, and how they are told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import pandas as pd

from lapsi.results.columns import Column
from lapsi.results.scores import Scores


class Issues(ABC):
    """Likely errors of targets of one kind; a target is what one row of the ranking doubts."""

    task: ClassVar[str]
    noun: ClassVar[str]  # what is doubted
    plural: ClassVar[str]
    meaning: ClassVar[str]  # of the threshold, before its value
    better: ClassVar[str]  # what is counted of the suggestions

    @abstractmethod
    def columns(self, outputs: np.ndarray) -> list[Column]:
        """Those of the ranking, beside `flagged` and what travelled along; `outputs` (K,) as of the scores."""

    @abstractmethod
    def threshold(self, scores: Scores) -> float:
        """Targets of lower quality are flagged, where nothing else is asked for."""

    @abstractmethod
    def reason(self, scores: Scores) -> str:
        """What that threshold is, in words."""

    @abstractmethod
    def rank(self, scores: Scores, threshold: float) -> pd.DataFrame:
        """Its columns and `flagged` and those that travelled along, the least trusted target first."""

    @abstractmethod
    def wrong(self, scores: Scores, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """(n,) which targets of the ranking differ from those in the column `truth`.

        Raises:
            InputError: when that column holds none of the kind.
        """

    @abstractmethod
    def right(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """(n,) which suggestions, of wrong targets, are right."""
