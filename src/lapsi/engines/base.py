"""What every engine offers: a plan before it starts, a fit of all samples, and what moves when units leave.

A unit is a sample, or several that leave together. An `Engine` is what the user chose; its `Fit` holds the data and what was
trained on all of them. `evaluate` (the one loop over what a fit yields) makes columns of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.models.likelihoods.choose import directions_of
from lapsi.problem.base import Problem
from lapsi.problem.removed import Removed

Units = Tensor | Sequence[Tensor]  # (n, g) samples that leave together; or n tensors (g,) where the groups differ in size
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Work:
    """The shape of a run.

    Attributes:
        n_samples: N.
        n_features: D, the constant 1 included.
        n_outputs, n_directions: K, and how many directions of them the loss sees.
        n_units: units that leave, one by one.
    """

    n_samples: int
    n_features: int
    n_outputs: int
    n_directions: int
    n_units: int


def work_of(dataset: Dataset, n_units: int) -> Work:
    """The shape of leaving out `n_units` units of a data set."""
    targets = dataset.targets
    return Work(dataset.n_samples, dataset.n_features + 1, targets.n_outputs, directions_of(targets), n_units)


def single_rows(units: Units) -> Tensor:
    """Rows (n,) of units of one sample each."""
    assert isinstance(units, Tensor)
    return units[:, 0]


@dataclass(frozen=True, slots=True)
class Plan:
    """How an engine will run, told before it starts.

    Attributes:
        cost: memory and work.
        details: what the engine decided, plain JSON values; kept with the scores.
        notes: what a person is told of it, (name, value).
    """

    cost: Cost
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some units that are done, and kept, in one go.

    Attributes:
        name: in the checkpoint.
        start, stop: positions of its units among all that were asked for.
        work: steps of its progress bar.
        seed: number of the training, from 0.
        n_epochs: after how many epochs its units are measured.
    """

    name: str
    start: int
    stop: int
    work: int
    seed: int = 0
    n_epochs: int = 1


class Fit(ABC):
    """An engine with its data: what was trained on all samples, and how units leave."""

    curvature: Curvature

    @property
    @abstractmethod
    def problem(self) -> Problem:
        """With all samples."""

    @property
    @abstractmethod
    def reference_name(self) -> str:
        """What `reference` is, in a word that the reader of a verification knows."""

    @abstractmethod
    def parts(self, n_units: int) -> list[Part]:
        """How `n_units` units are shared out, seed by seed; each part can be done alone and gives the same."""

    @abstractmethod
    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        """What is found when the units of a part leave, in chunks; positions count within the part.

        A chunk may come again, better; the last one of a unit (and epoch) holds.
        """

    @abstractmethod
    def settle(self, units: Units, part: Part, positions: np.ndarray) -> Iterator[Removed]:
        """The same for those at some positions (k,) of a part, in the most exact way there is; nothing where it was taken."""

    @abstractmethod
    def reference(self, units: Units) -> Iterator[Removed]:
        """The same the slow way, for verification, under the first seed."""

    @abstractmethod
    def n_checks(self, verify: int, n_units: int) -> int:
        """How many units are worth checking where `verify` were asked for."""

    @abstractmethod
    def record(self, params: Tensor) -> dict[str, Any]:
        """Fields of the provenance: dtype, grad_norm, n_iterations; `params` of the model with all samples."""


class Engine(ABC):
    """A way of leaving samples out, with its options."""

    name: ClassVar[str]
    goes_on: ClassVar[bool]  # whether finished parts are kept, so that unfinished work can go on

    @abstractmethod
    def plan(self, work: Work) -> Plan:
        """How it will run.

        Raises:
            MemoryLimitError: when it does not fit.
        """

    @abstractmethod
    def kept(self, plan: Plan) -> dict[str, Any]:
        """What must stay the same when unfinished work goes on, plain JSON values."""

    @abstractmethod
    def continued(self, plan: Plan, kept: dict[str, Any]) -> Plan:
        """The plan of work that was begun with `kept`.

        Raises:
            MemoryLimitError: when that does not fit into the memory that there is now.
        """

    @abstractmethod
    def seconds(self, plan: Plan, work: Work, dataset: Dataset) -> float:
        """Estimated wall time on this machine, from a short calibration."""

    @abstractmethod
    def fit(self, dataset: Dataset, standardizer: Standardizer, plan: Plan, stages: Stages) -> Fit:
        """Everything that is needed before units leave."""
