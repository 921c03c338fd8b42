"""What measures beside LSI are: numbers of single samples, from labelled features as a probe is trained on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from lapsi.execution.progress import Advance
from lapsi.problem.network import NetworkProblem
from lapsi.results.columns import Column


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """N samples of classes, as a probe sees them.

    Attributes:
        problem: standardized features and the constant 1, labels, the model and its objective; no weights.
        seed: of what is drawn.
    """

    problem: NetworkProblem
    seed: int

    @property
    def inputs(self) -> Tensor:
        """X (N, D) float64, its last column 1."""
        return self.problem.inputs

    @property
    def labels(self) -> Tensor:
        """y (N,) int64 in 0…C−1."""
        return self.problem.targets

    @property
    def n_classes(self) -> int:
        """C."""
        return self.problem.likelihood.n_outputs

    @property
    def one_hot(self) -> Tensor:
        """Y (N, C) float64."""
        found = self.inputs.new_zeros(len(self.labels), self.n_classes)
        return found.scatter_(1, self.labels[:, None], 1.0)


class Measure(ABC):
    """A measure, by its name.

    Attributes:
        name: in options and as the measure of its columns.
        columns: what it adds to a run.
        needs_linear: whether it is of the probe without hidden layers alone.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    needs_linear: ClassVar[bool] = False

    @abstractmethod
    def n_steps(self, data: Labelled) -> int:
        """How often `advance` is told of one."""

    @abstractmethod
    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        """Each of the columns (N,)."""
