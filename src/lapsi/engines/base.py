"""What every engine offers: a plan before it starts, a fit of all samples, and what moves when units leave.

A unit is a sample, or several that leave together. An `Engine` is what the user chose; its `Fit` holds the data and what was
trained on all of them. `evaluate` (the one loop over what a fit yields) makes columns of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.data.dataset import Dataset
from lapsi.data.standardize import Standardizer
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Advance, Stages
from lapsi.models.likelihoods.choose import directions_of
from lapsi.problem.base import Problem
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import is_large
from lapsi.problem.removed import Removed

KEPT_BYTES = 64  # of a unit, beside its outputs and divergences
HEADER_BYTES = 4096  # of a part

Units = Tensor | Sequence[Tensor]  # (n, g) samples that leave together; or n tensors (g,) where the groups differ in size


@dataclass(frozen=True, slots=True)
class Work:
    """The shape of a run.

    Attributes:
        n_samples: N.
        n_features: D, the constant 1 included.
        n_outputs, n_directions: K, and how many directions of them the loss sees.
        n_units: units that leave, one by one.
        input_bytes: of an input of the linear model, as it is held.
        own_units: whether each feature may have a unit of its own.
    """

    n_samples: int
    n_features: int
    n_outputs: int
    n_directions: int
    n_units: int
    input_bytes: int = 8
    own_units: bool = False

    @property
    def n_coordinates(self) -> int:
        """D, or N where that is less: the span of the rows."""
        return min(self.n_features, self.n_samples)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Samples, coordinates, outputs, and directions of these."""
        return self.n_samples, self.n_coordinates, self.n_outputs, self.n_directions

    @property
    def span_bytes(self) -> int:
        """Of the span of the rows, where inputs are coordinates in it, and of what it is made from."""
        return 2 * 8 * self.n_coordinates * self.n_features if self.n_coordinates < self.n_features else 0

    def notes(self) -> list[tuple[str, str]]:
        """What a person is told of it."""
        if self.n_coordinates == self.n_features:
            return []
        return [("features", f"{self.n_features - 1:,}, taken in the span of the {self.n_samples:,} samples (exact)")]


def work_of(dataset: Dataset, n_units: int) -> Work:
    """The shape of leaving out `n_units` units of a data set."""
    targets = dataset.targets
    shape = dataset.n_samples, dataset.n_features + 1, targets.n_outputs, directions_of(targets)
    return Work(*shape, n_units, 4 if is_large(dataset) else 8, dataset.own_units)


def work_in(problem: LinearProblem, n_units: int) -> Work:
    """The same of a problem, its inputs as they are."""
    model = problem.model
    return Work(problem.n_samples, model.n_features, model.n_outputs, model.n_directions, n_units)


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
        kept_bytes: of all finished parts on the disk, about, where they are kept.
    """

    cost: Cost
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()
    kept_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some units that are done, and kept, in one go, wherever that is.

    Attributes:
        name: in the checkpoint.
        positions: (k,) of its units among all that were asked for.
        work: steps of its progress bar.
        way: how its units leave, a word of the engine that has several.
        allowance: how many of its units may be taken in a way that costs far more, where the first one fails.
        is_first: whether none of its units was taken before, so that all of them are found.
        is_final: whether no later part takes up those of its units whose LSI is no divergence.
        seed: number of the training, from 0.
        n_epochs: after how many epochs its units are measured.
    """

    name: str
    positions: np.ndarray
    work: int
    way: str = ""
    allowance: int = 0
    is_first: bool = True
    is_final: bool = True
    seed: int = 0
    n_epochs: int = 1

    @property
    def all_may_cost(self) -> bool:
        """Whether none of its units is left as it is for want of an allowance."""
        return self.allowance >= len(self.positions)

    def units_of(self, units: Units) -> Units:
        """Its own among all units that were asked for, on their device."""
        if isinstance(units, Tensor):
            return units[torch.as_tensor(self.positions, device=units.device)]
        return [units[position] for position in self.positions]


def parts_bytes(n_outputs: int, n_units: int, n_parts: int, n_params: int, n_epochs: int = 1) -> int:
    """Of finished parts on the disk: what is kept of each unit and epoch, of each part the params and its headers."""
    return n_units * (8 * n_outputs + 16 * n_epochs + KEPT_BYTES) + n_parts * (8 * n_params + HEADER_BYTES)


def shared_out(positions: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions (n,) in runs of nearly equal length, at most `size` each; the same wherever they are worked on."""
    return np.array_split(positions, -(-len(positions) // size)) if len(positions) > 0 else []


def parts_of(name: str, positions: np.ndarray, size: int, way: str = "") -> list[Part]:
    """Parts of at most `size` units each, of those at some positions (n,), a step each."""
    shared = enumerate(shared_out(positions, size))
    return [Part(f"{name}-part{number:05d}", own, len(own), way) for number, own in shared]


def again(parts: list[Part]) -> list[Part]:
    """The same of units that were taken before, where later parts may still mend them."""
    return [replace(part, is_first=False, is_final=False) for part in parts]


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
        """How `n_units` units are shared out first, seed by seed; each part can be done alone and gives the same."""

    @abstractmethod
    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        """What is done again, better, after the parts `done`; nothing where all is good enough.

        Args:
            done: all parts so far.
            found: of all units, as `evaluate` gives it; also `lsi_error` (n,) and what the removals tell beside their shifts.
            advance: told the steps of `later_steps` that turn out not to be taken; less than 0 where they are taken after all.
        """

    @abstractmethod
    def mending(self, positions: np.ndarray) -> list[Part]:
        """The units at some positions (k,) in the most exact way there is; nothing where that was taken."""

    @abstractmethod
    def later_steps(self, n_units: int) -> int:
        """Steps of the progress bar that `further` parts take at most."""

    @abstractmethod
    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        """What is found when the units of a part leave, in chunks; positions count within the part.

        Of a part that does its units again, those that could not be bettered may be missing.
        """

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
