"""Many leave-one-out models trained at once, as changes of the model with all samples (docs/math.md, Retraining)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import torch
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.problem.base import DescentProblem, weight_of
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import LossGradient, descend
from lapsi.training.optimizers import Decay
from lapsi.training.pair import Pair, Snapshot
from lapsi.training.sampling import Batch

DIVERGED = 20.0
REMEDY = "Use a smaller learning rate, or standardize the features."

Minimised = TypeVar("Minimised", bound=DescentProblem)


class BatchLoss(ABC):
    """Gradient of the mean loss over a batch and its change in every model that lacks a sample."""

    @abstractmethod
    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """(1/b) Σ g_j, and how it differs in each model; b is the weight of the batch, or a public number."""

    @abstractmethod
    def mean_since(self) -> float:
        """The mean loss of the model with all samples, nats, over all batches since this was asked last."""


class Losses(ABC, Generic[Minimised]):
    """What training minimises, in difference form and directly.

    Attributes:
        problem: with all samples.
    """

    problem: Minimised

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the changes."""

    @abstractmethod
    def without_each(self, indices: Tensor) -> BatchLoss:
        """For the models without sample indices[b] (B,)."""

    @abstractmethod
    def without(self, index: Tensor) -> LossGradient:
        """For the one model without the sample in `index` (1,), or with all (0,), directly; the pair has no changes."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trainer(Generic[Minimised]):
    """Trains the models without one sample each.

    Attributes:
        losses: what is minimised.
        recipe: how to train.
    """

    losses: Losses[Minimised]
    recipe: Recipe

    @property
    def problem(self) -> Minimised:
        """With all samples."""
        return self.losses.problem

    def __call__(self, indices: Tensor, seed: int, epochs: set[int], advance: Callable[[int], None]) -> Iterator[Snapshot]:
        """Trains the models without sample indices[b] (B,); yields after those `epochs` (0: as initialised).

        `advance` is told each epoch.

        Raises:
            ConvergenceError: when training diverges, with the epoch, the sample and the remedy.
        """
        problem = self.problem
        params = problem.initial(seed)
        pair = Pair(params, torch.zeros(len(indices), len(params), dtype=self.losses.dtype, device=params.device))
        loss, sense = self.losses.without_each(indices), Sense(self.recipe.clip_norm is not None)
        if 0 in epochs:
            yield Snapshot(0, pair.value, pair.change)
        for epoch in descend(pair, loss, self.recipe, self.decay(indices), problem.n_samples, seed):
            sense.require(loss.mean_since(), pair, indices, epoch)
            advance(1)
            if epoch in epochs:
                yield Snapshot(epoch, pair.value, pair.change)

    def train_one(self, index: int | None, seed: int) -> Tensor:
        """Params (P,) of one model, trained without sample `index` (or with all) in float64, no differences: the plain way."""
        *_, last = self.course(index, seed)
        return last

    def course(self, index: int | None, seed: int) -> Iterator[Tensor]:
        """The same as initialised and after each epoch; the one tensor goes on changing."""
        problem = self.problem
        params = problem.initial(seed)
        rows = torch.tensor([] if index is None else [index], dtype=torch.int64, device=params.device)
        decay = self.decay(rows)
        weight = decay.weight if decay.extra is None or index is None else decay.weight + float(decay.extra)
        pair = Pair(params, params.new_zeros(0, len(params)))
        loss = self.losses.without(rows)
        yield pair.value
        for _ in descend(pair, loss, self.recipe, Decay(weight), problem.n_samples, seed):
            yield pair.value

    def decay(self, indices: Tensor) -> Decay:
        """Weight decay with all samples, and what the models without samples indices[b] (B,) have more.

        Mean losses that keep W·w in total need w·W/(W − a); sums over a public number keep W·w by themselves.
        """
        problem, weight = self.problem, self.problem.objective.weight_decay
        if problem.objective.removal != "sum" or self.recipe.public_divisor:
            return Decay(weight)
        leaving = weight_of(problem, indices)
        return Decay(weight, (weight * leaving / (problem.total - leaving))[:, None].to(self.losses.dtype))


@final
class Sense:
    """Refuses to go on where training has left all sense."""

    def __init__(self, private: bool) -> None:
        """`private`: gradients are clipped, so that a loss may grow."""
        self._private = private
        self._first: float | None = None

    def require(self, loss: float, params: Pair, indices: Tensor, epoch: int) -> None:
        """Told the mean loss of every epoch; `params` of the models without samples `indices` (B,) after it.

        Raises:
            ConvergenceError: with the epoch, the sample and the remedy.
        """
        first = self._first = loss if self._first is None else self._first
        finite = bool(torch.isfinite(params.value).all()) and math.isfinite(loss)
        if not finite or (loss > DIVERGED * max(first, 1.0) and not self._private):
            raise ConvergenceError(
                f"Training diverged in epoch {epoch}: the mean loss of the model with all samples went from {first:.3g} to "
                f"{loss:.3g} nats. {REMEDY}"
            )
        lost = ~torch.isfinite(params.change.sum(1))
        if bool(lost.any()):
            index = int(indices[lost][0])
            raise ConvergenceError(
                f"Training without the sample in row {index} diverged in epoch {epoch} ({int(lost.sum())} of {len(lost)} "
                f"models). {REMEDY} Or leave the row out (indices)."
            )
