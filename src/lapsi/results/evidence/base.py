"""What every kind of targets offers to a reader of scores: its columns and its summary.

All have `label` (the target), `loo_label` (what models that never saw the sample predict), `loo_loss`, `label_quality` and
`suggested_label` (missing where the target is not doubted), under titles of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pandas as pd

from lapsi.data.targets import Targets
from lapsi.results.columns import Column

QUARTERS = (0.25, 0.5, 0.75)

Kind = TypeVar("Kind", bound=Targets)


@dataclass(frozen=True, slots=True, eq=False)
class Seen(Generic[Kind]):
    """What is known of n scored samples.

    Attributes:
        targets: theirs, n of them.
        outputs: (n, K) of the models that never saw them, as the likelihood combines them: log-probabilities, logits or
            standardized numbers.
        train_loss: (S, n) nats, under the model that saw them, by seed.
        leverage: (n,) how much each bends its own fit; None where it is not known.
        noise_variance: (K,) of numbers, in their own units squared; () else.
    """

    targets: Kind
    outputs: np.ndarray
    train_loss: np.ndarray
    leverage: np.ndarray | None
    noise_variance: tuple[float, ...]


class Evidence(ABC, Generic[Kind]):
    """The evidence on targets of one kind."""

    task: ClassVar[str]
    summary_columns: ClassVar[Mapping[str, Column]]  # of `summarise`
    summary_title: ClassVar[str]  # of its table
    rows_are: ClassVar[str]  # what its rows are, in a word
    rows_by: ClassVar[str]  # the column whose values they go by
    shown: ClassVar[tuple[str, ...]]  # columns beside id, target and LSI, where there is little room
    wrong: ClassVar[str]  # what a high LSI is not the same as, in words
    atypical: ClassVar[str]  # what a high LSI may mean, in words
    overlap: ClassVar[bool]  # whether a sample may be in several of its `parts`

    @abstractmethod
    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        """Those of the table, in their order; `outputs` (K,) are the names of classes, labels or numbers."""

    @abstractmethod
    def compute(self, seen: Seen[Kind]) -> dict[str, Any]:
        """The target and what is said of it, (n,) each by name."""

    @abstractmethod
    def prediction(self, seen: Seen[Kind]) -> np.ndarray:
        """(n, K) probabilities float32, or numbers float64."""

    @abstractmethod
    def agreement(self, targets: Kind, outputs: np.ndarray) -> dict[str, float]:
        """How well outputs (N, K) of the model with all samples fit its targets: fields of the provenance."""

    @abstractmethod
    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        """Refuses what no such evidence can hold.

        Raises:
            ValueError: with the first thing that is wrong.
        """

    @abstractmethod
    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """What summaries, charts and subsets go by, each with its name and the positions of its samples, ascending."""

    @abstractmethod
    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        """(n,) whether another target of each sample, as a column of the table tells it, is not the given one."""

    @abstractmethod
    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """(n,) whether the target of each sample is doubted: its quality lies below the line at which `lapsi issues` flags."""

    @abstractmethod
    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """The columns of `summary_columns`, some rows ordered by median LSI, and a last row "all"."""


def quarters(values: np.ndarray, form: str) -> list[tuple[str, np.ndarray]]:
    """Parts of samples by their values (n,), from the lowest, each named by its ends; fewer than four where values repeat."""
    quarter = np.searchsorted(np.quantile(values, QUARTERS), values)
    found = [np.flatnonzero(quarter == each) for each in np.unique(quarter)]
    ends = [dict.fromkeys(format(end, form) for end in (values[rows].min(), values[rows].max())) for rows in found]
    return [(" to ".join(pair), rows) for pair, rows in zip(ends, found, strict=True)]


def ordered_summary(rows: list[dict[str, Any]], whole: dict[str, Any], columns: Iterable[str]) -> pd.DataFrame:
    """Some columns of rows by their `label`, ordered by median LSI, and the row of all samples last."""
    ordered = pd.DataFrame(rows).sort_values("lsi_median")
    return pd.concat([ordered, pd.DataFrame([whole])], ignore_index=True).set_index("label")[list(columns)]


def lsi_summary(part: pd.DataFrame) -> dict[str, Any]:
    """What every summary says of the LSI of some samples."""
    finite = part[np.isfinite(part["lsi"])]
    total = finite["lsi"].sum()
    return {
        "samples": len(part),
        "lsi_median": part["lsi"].median(),
        "lsi_mean": part["lsi"].mean(),
        "lsi_max": part["lsi"].max(),
        "curvature_share": finite["lsi_curvature"].sum() / total if total > 0 else 0.0,
    }
