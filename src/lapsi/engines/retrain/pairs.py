"""The loss of pairs without one of them, in difference form and directly (docs/math.md, Pairs)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.engines.retrain.trainer import BatchLoss, Losses, Trainer
from lapsi.problem.contrastive import ContrastiveProblem, pull_changes
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import LossGradient
from lapsi.training.pair import Pair
from lapsi.training.sampling import Batch


@final
@dataclass(frozen=True, slots=True, eq=False)
class PairLosses(Losses[ContrastiveProblem]):
    """Those of pairs.

    Attributes:
        problem: the pairs, projections, objective.
        first, second: features of the problem, in the dtype of the changes.
    """

    problem: ContrastiveProblem
    first: Tensor
    second: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.first.dtype

    def without_each(self, indices: Tensor) -> BatchLoss:
        return PairsWithoutEach(self, indices)

    def without(self, index: Tensor) -> LossGradient:
        return PairsWithout(self.problem, index)


def pair_trainer(problem: ContrastiveProblem, dtype: torch.dtype, recipe: Recipe) -> Trainer[ContrastiveProblem]:
    """Trains projections of pairs, changes in a dtype."""
    return Trainer(PairLosses(problem, problem.first.to(dtype), problem.second.to(dtype)), recipe)


@final
class PairsWithoutEach(BatchLoss):
    """Gradient of the mean loss over a batch of pairs, and its change in every model that lacks one."""

    def __init__(self, losses: PairLosses, indices: Tensor) -> None:
        """For the models without pairs indices[b] (B,)."""
        self._losses, self._indices = losses, indices
        self._loss_sum, self._n_losses = 0.0, 0

    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """As the base class says; the pair that is left out takes its row and column from the batch."""
        losses, problem, model = self._losses, self._losses.problem, self._losses.problem.model
        passes = problem.forward_backward(params.value, batch.rows)
        self._loss_sum += float(passes.losses.sum())
        self._n_losses += len(passes.losses)
        mean = problem.gradient(passes, batch.rows) / max(1, batch.normalizer)
        if len(self._indices) == 0:
            return Pair(mean, params.change)
        places = self._places(batch)
        narrow = passes.to(losses.dtype)
        first, second = losses.first[batch.rows], losses.second[batch.rows]
        moved_first, moved_second = model.projections(params.change)
        change = torch.empty_like(params.change)
        for b, place in enumerate(places):
            of_first = narrow.first.moved(first @ moved_first[b].T)
            of_second = narrow.second.moved(second @ moved_second[b].T)
            pulls = pull_changes(narrow, of_first, of_second, problem.temperature, place)
            change[b] = model.join(pulls[0].T @ first, pulls[1].T @ second)
            left = batch.normalizer
            if place is not None and batch.shrinks:
                change[b] += mean.to(losses.dtype)
                left -= 1
            change[b] = change[b] / left if left > 0 else -mean.to(losses.dtype)
        return Pair(mean, change)

    def mean_since(self) -> float:
        """As the base class says."""
        mean = self._loss_sum / max(1, self._n_losses)
        self._loss_sum, self._n_losses = 0.0, 0
        return mean

    def _places(self, batch: Batch) -> list[int | None]:
        """Where in the batch each pair that is left out stands."""
        if isinstance(batch.rows, slice):
            held = batch.holds(self._indices)
            return [int(i) - batch.rows.start if there else None for i, there in zip(self._indices, held, strict=True)]
        found = [(batch.rows == index).nonzero().flatten().tolist() for index in self._indices]
        return [at[0] if at else None for at in found]


@final
class PairsWithout:
    """Gradient of the mean loss over a batch, of the pairs that are there, directly."""

    def __init__(self, problem: ContrastiveProblem, index: Tensor) -> None:
        """Without the pair in `index` (1,), or with all (0,)."""
        self._problem, self._index = problem, index

    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """The pair has no changes."""
        device = params.value.device
        rows = torch.arange(batch.rows.start, batch.rows.stop, device=device) if isinstance(batch.rows, slice) else batch.rows
        kept = rows[~torch.isin(rows, self._index)]
        left = batch.normalizer - (len(rows) - len(kept) if batch.shrinks else 0)
        total = self._problem.gradient_sum(params.value, kept, None)
        return Pair(total / left if left > 0 else torch.zeros_like(total), params.change)


def pair_bytes(n_dimensions: int, n_rows: int, itemsize: int) -> int:
    """What a batch of so many pairs holds: five matrices of similarities, seven of their changes, and projections."""
    return n_rows**2 * (5 * 8 + 7 * itemsize) + 16 * 8 * n_rows * n_dimensions
