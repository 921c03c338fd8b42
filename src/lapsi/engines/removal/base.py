"""What every closed form offers: the first step of a sample that leaves, and the matrix of the steps after it.

A `Step` holds what all samples share, a `Removal` what a chunk of them takes. Legend of the indices: n sample that leaves,
m direction of the basis, k feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed


@final
@dataclass(frozen=True, slots=True)
class Compared:
    """A change of shifts beside them.

    Attributes:
        size: (n,) float64, its norm over theirs.
        alignment: (n,) the part of it that moves LSI, at least: its cosine with them in the metric of the posterior; 1 where
            that is not looked at.
    """

    size: Tensor
    alignment: Tensor

    def of_lsi(self, size: Tensor) -> Tensor:
        """Half of the relative change of LSI, as far as that goes with the square of a shift, by changes of a `size` (n,)."""
        return self.alignment * size + size.square() / 2


class Removal(ABC):
    """Samples that leave, each alone.

    Attributes:
        step: what all samples share.
        rows: (n,) the samples.
        outputs: (n, K) float64 of theirs at the optimum of all.
    """

    step: Step
    rows: Tensor
    outputs: Tensor

    @property
    @abstractmethod
    def leverage(self) -> Tensor:
        """tr(S JᵀH⁻¹J) (n,) float64."""

    @abstractmethod
    def newton_step(self) -> Tensor:
        """The first shift (n, F, D), from the optimum of all samples."""

    @abstractmethod
    def solve(self, gradient: Tensor) -> Tensor:
        """(H − J S Jᵀ)⁻¹, or what is near it, of one gradient (n, F, D) a sample, in the dtype of the gradient."""

    @abstractmethod
    def refit(self, shift: Tensor, remaining: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Shifts (n, F, D) float64 and what remains (n,), with each sample of which that is infinite fitted anew without it.

        `tolerance`: what may remain of it.

        Raises:
            ConvergenceError: where its leave-one-out optimum is not reached.
        """

    @abstractmethod
    def part(self, chosen: Tensor) -> Removal:
        """The same for some of the samples: where `chosen` (n,) is true."""


class Step(ABC):
    """The closed form of any sample.

    Attributes:
        problem, params: with all samples, and its optimum (F, D).
    """

    problem: LinearProblem
    params: Tensor

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the large products."""

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether it takes all outputs together: then what a chord step leaves goes with its square."""

    @property
    @abstractmethod
    def leaves_out(self) -> bool:
        """Whether it leaves out outputs of a sample or of the inverse that say little: it then misses some of every shift."""

    @property
    @abstractmethod
    def probe_tolerance(self) -> float:
        """How near samples are brought to their optimum that tell what the closed form misses."""

    @property
    @abstractmethod
    def part_units(self) -> int:
        """Samples that are done, and kept, in one go."""

    @abstractmethod
    def removal(self, rows: Tensor) -> Removal:
        """Of samples `rows` (n,)."""

    @abstractmethod
    def chunks(self, rows: Tensor) -> Iterator[tuple[np.ndarray, Removal]]:
        """Samples `rows` (n,) by chunks that fit into memory, and their positions among them."""

    @abstractmethod
    def alike(self, rows: Tensor) -> Tensor:
        """An order (n,) of samples `rows` (n,) in which those that share products follow each other."""

    @abstractmethod
    def compared(self, change: Tensor, shift: Tensor) -> Compared:
        """Changes (n, F, D) of shifts beside them."""

    @abstractmethod
    def at_once(self, dtype: torch.dtype) -> int:
        """How many samples may be taken beyond the closed form at once."""


def removal_at(step: Step, rows: Tensor, positions: np.ndarray) -> Removal:
    """Of the samples at some positions (k,) of `rows`."""
    return step.removal(rows[torch.as_tensor(positions, device=rows.device)])


def removed_of(
    removal: Removal, positions: np.ndarray, shift: Tensor, refinement: str, remaining: Tensor | None = None
) -> Removed:
    """The chunk that its shift (n, F, D) makes of a removal."""
    units = removal.rows[:, None]
    change = removal.step.problem.own_output_change(units, shift)[:, 0]
    remaining = torch.full((len(shift),), torch.nan, dtype=torch.float64) if remaining is None else remaining
    diagnostics = {"leverage": removal.leverage, "output_change": change.abs().amax(1)}
    outputs = (removal.outputs + change)[:, None]
    return Removed(units, positions, removal.step.params, shift, outputs, refinement, remaining, diagnostics)
