"""What every sample is to be predicted as: a class, several labels that are there or not, or numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import numpy as np

from lapsi.settings.task import CLASSES, MULTILABEL, PAIRS, REGRESSION, TOKENS

SEPARATOR = "|"  # between the labels of a sample, where they are one text


class Targets(ABC):
    """One target a sample, N of them."""

    task: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """K, outputs of a model that predicts them."""

    @property
    @abstractmethod
    def values(self) -> np.ndarray:
        """(N, …) as the likelihood reads them."""

    @property
    @abstractmethod
    def names(self) -> np.ndarray:
        """(K,) what the outputs are called: classes, labels, or columns of numbers."""

    @property
    @abstractmethod
    def shown(self) -> np.ndarray:
        """(N,) each target as its reader knows it."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """Those of some samples (n,)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ClassTargets(Targets):
    """One class a sample.

    Attributes:
        codes: (N,) int64, positions in `classes`.
        classes: (C,) the label values as given, sorted.
    """

    task: ClassVar[str] = CLASSES

    codes: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_outputs(self) -> int:
        """C."""
        return len(self.classes)

    @property
    def values(self) -> np.ndarray:
        """(N,) the codes."""
        return self.codes

    @property
    def names(self) -> np.ndarray:
        return self.classes

    @property
    def shown(self) -> np.ndarray:
        return self.classes[self.codes]

    def take(self, rows: np.ndarray) -> ClassTargets:
        return replace(self, codes=self.codes[rows])


@final
@dataclass(frozen=True, slots=True, eq=False)
class MultiLabelTargets(Targets):
    """K labels, each there or not.

    Attributes:
        present: (N, K) float64, 0 or 1.
        labels: (K,) text, what they are called.
    """

    task: ClassVar[str] = MULTILABEL

    present: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.present)

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self.labels)

    @property
    def values(self) -> np.ndarray:
        """(N, K) what is present."""
        return self.present

    @property
    def names(self) -> np.ndarray:
        return self.labels

    @property
    def shown(self) -> np.ndarray:
        """(N,) the labels that are there, as one text."""
        return label_sets(self.present > 0.5, self.labels)

    def take(self, rows: np.ndarray) -> MultiLabelTargets:
        return replace(self, present=self.present[rows])


@final
@dataclass(frozen=True, slots=True, eq=False)
class RealTargets(Targets):
    """K numbers; build them with `lapsi.data.labels.real_targets`.

    Attributes:
        given: (N, K) float64.
        mean, scale: (K,) by which they are centred and scaled.
        columns: (K,) text, what the numbers are called.
    """

    task: ClassVar[str] = REGRESSION

    given: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.given)

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self.columns)

    @property
    def values(self) -> np.ndarray:
        """(N, K) centred and scaled."""
        return (self.given - self.mean) / self.scale

    @property
    def names(self) -> np.ndarray:
        return self.columns

    @property
    def shown(self) -> np.ndarray:
        """(N,) the number; several as one text."""
        return as_shown(self.given)

    def take(self, rows: np.ndarray) -> RealTargets:
        return replace(self, given=self.given[rows])


@final
@dataclass(frozen=True, slots=True, eq=False)
class TokenTargets(Targets):
    """The tokens of a text, which the data set itself holds; what is known of a sample is how many of them count.

    Attributes:
        counts: (N,) int64.
    """

    task: ClassVar[str] = TOKENS

    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def n_outputs(self) -> int:
        """The loss alone."""
        return 1

    @property
    def values(self) -> np.ndarray:
        """(N,) the counts."""
        return self.counts

    @property
    def names(self) -> np.ndarray:
        return np.array(["loss"])

    @property
    def shown(self) -> np.ndarray:
        """(N,) the counts."""
        return self.counts

    def take(self, rows: np.ndarray) -> TokenTargets:
        return replace(self, counts=self.counts[rows])


@final
@dataclass(frozen=True, slots=True, eq=False)
class PairTargets(Targets):
    """The other side of each of N pairs: nothing but that it is the one that belongs there.

    Attributes:
        rows: (N,) int64, of the pairs.
    """

    task: ClassVar[str] = PAIRS

    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_outputs(self) -> int:
        """The loss alone."""
        return 1

    @property
    def values(self) -> np.ndarray:
        """(N,) the rows."""
        return self.rows

    @property
    def names(self) -> np.ndarray:
        return np.array(["loss"])

    @property
    def shown(self) -> np.ndarray:
        """(N,) the rows."""
        return self.rows

    def take(self, rows: np.ndarray) -> PairTargets:
        return replace(self, rows=self.rows[rows])


def as_shown(numbers: np.ndarray) -> np.ndarray:
    """(n,) the numbers (n, 1) themselves, or several as one text."""
    if numbers.shape[1] == 1:
        return numbers[:, 0]
    return np.array([", ".join(f"{number:.4g}" for number in row) for row in numbers], dtype=object)


def label_set(text: str) -> set[str]:
    """The labels that a text names."""
    return {part.strip() for part in str(text).split(SEPARATOR) if part.strip()}


def label_sets(present: np.ndarray, names: np.ndarray) -> np.ndarray:
    """(N,) text: the names of the labels that are `present` (N, K)."""
    texts = np.asarray(names).astype(str)
    return np.array([SEPARATOR.join(texts[row]) for row in present], dtype=object)
