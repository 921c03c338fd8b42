"""What a question about a data set is asked of, and what its answer holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lapsi.analysis.checks.datalab import Audit
from lapsi.results.columns import WHOLE, Column
from lapsi.results.scores import Scores
from lapsi.settings.task import CLASSES

CHECK = "check"  # the measure that all columns of checks belong to
EXAMPLES = 5
NO_CLASSES = "the targets are no classes, one a sample"

number = partial(Column, measure=CHECK, format=".3f")
whole = partial(Column, measure=CHECK, format=WHOLE)
words = partial(Column, measure=CHECK)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is asked.

    Attributes:
        scores: n scored samples.
        features: (n, d) of them, as they were given; None where there are none at hand.
        is_table: whether these were made of the columns of a table, each of a unit of its own.
        reason: why there are no features; "" where there are.
        audit: what Datalab says of the features: near duplicates, outliers, order; None without features.
    """

    scores: Scores
    features: np.ndarray | None
    is_table: bool
    reason: str
    audit: Audit | None

    @property
    def has_classes(self) -> bool:
        """Whether each sample has one class."""
        return self.scores.task == CLASSES

    @property
    def ids(self) -> np.ndarray:
        """(n,) of the samples."""
        return self.scores.table["id"].to_numpy()

    @property
    def told_apart(self) -> np.ndarray | None:
        """The features, where one of them may give the label away: not those that a network learned from the labels."""
        return self.features if self.scores.features is None else None

    @property
    def shown(self) -> list[str]:
        """The columns of the run that features were made of, where the data are a table."""
        return [name for name in self.scores.provenance.table.get("shown", []) if name in self.scores.table]

    def lost(self, issue: str) -> str:
        """Why an issue of the features could not be looked for; "" where it was."""
        return self.reason if self.audit is None else self.audit.lost.get(issue, "")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was found.

    Attributes:
        values: the columns of the check, (n,) each.
        found: how many samples, or columns of the data, it is about.
        said: the same in words.
        examples: the worst, a few words each.
    """

    values: dict[str, Any]
    found: int
    said: str
    examples: Sequence[str]


class Check(ABC):
    """A question; its first column tells which samples it is about: those where it is neither missing, false nor 0."""

    name: ClassVar[str]
    title: ClassVar[str]  # of what it finds
    question: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]

    @abstractmethod
    def lacks(self, given: Given) -> str:
        """Why it cannot be asked; "" where it can."""

    @abstractmethod
    def answer(self, given: Given) -> Answer:
        """What is found.

        Raises:
            LeftOut: when Datalab could not tell.
        """


def is_about(values: pd.Series) -> np.ndarray:
    """(n,) bool: which samples the first column of a check names."""
    known = values.notna().to_numpy()
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return known & (values.fillna(0).to_numpy(np.float64) != 0)
    return known


def texts(values: Sequence[str | None]) -> Any:
    """A column (n,) of texts; missing for None and ""."""
    return pd.array([value or None for value in values], dtype="string")


def counted(count: int, noun: str, plural: str = "") -> str:
    """E.g. "1 sample", "2 samples"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
