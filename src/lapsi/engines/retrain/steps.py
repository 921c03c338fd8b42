"""Many leave-one-out models trained at once, as changes of the model with all samples (docs/math.md, Retraining)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.models.mlp import Mlp
from lapsi.models.passes import clip_of
from lapsi.problem.base import weight_of
from lapsi.problem.network import NetworkProblem, row_blocks, take
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import descend
from lapsi.training.optimizers import Decay
from lapsi.training.pair import Pair, Snapshot
from lapsi.training.sampling import Batch

BLOCK_BYTES = 64 * 2**20
DIVERGED = 20.0
EMPTY = 1e-12  # share of a batch's weight below which nothing is left of it
REMEDY = "Use a smaller learning rate, or standardize the features."


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains the models without one sample each.

    Attributes:
        problem: data, model, likelihood, objective.
        inputs: of the problem, in the dtype of the changes.
        recipe: how to train.
    """

    problem: NetworkProblem
    inputs: Tensor
    recipe: Recipe

    def __call__(self, indices: Tensor, seed: int, epochs: set[int], advance: Callable[[int], None]) -> Iterator[Snapshot]:
        """Trains the models without sample indices[b] (B,); yields after those `epochs` (0: as initialised).

        `advance` is told each epoch.

        Raises:
            ConvergenceError: when training diverges, with the epoch, the sample and the remedy.
        """
        problem = self.problem
        params = problem.model.initial(seed).to(problem.inputs.device)
        pair = Pair(params, torch.zeros(len(indices), len(params), dtype=self.inputs.dtype, device=params.device))
        loss = LeaveOneOutLoss(self, indices)
        if 0 in epochs:
            yield Snapshot(0, pair.value, pair.change)
        for epoch in descend(pair, loss, self.recipe, self.decay(indices), problem.n_samples, seed):
            loss.require_progress(pair, epoch)
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
        rows = torch.tensor([] if index is None else [index], dtype=torch.int64, device=problem.targets.device)
        decay = self.decay(rows)
        weight = decay.weight if decay.extra is None or index is None else decay.weight + float(decay.extra)
        params = problem.model.initial(seed).to(problem.inputs.device)
        pair = Pair(params, params.new_zeros(0, len(params)))
        loss = LossWithout(self, rows)
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
        return Decay(weight, (weight * leaving / (problem.total - leaving))[:, None].to(self.inputs.dtype))


class LeaveOneOutLoss:
    """Gradient of the mean loss over a batch, and its change in every model that lacks a sample."""

    def __init__(self, trainer: Trainer, indices: Tensor) -> None:
        """For the models without sample indices[b] (B,)."""
        sizes = trainer.problem.model.sizes
        row_bytes = model_row_bytes(trainer.problem.model, trainer.inputs.dtype) * max(1, len(indices))
        self._problem, self._inputs, self._clip_norm = trainer.problem, trainer.inputs, trainer.recipe.clip_norm
        self._indices = indices
        self._block = max(16, min(len(self._inputs), BLOCK_BYTES // row_bytes))
        self._buffer = self._inputs.new_empty(self._block * sizes[1] * len(indices))
        self._first_loss: float | None = None
        self._loss_sum, self._n_losses = 0.0, 0

    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """(1/b) Σ g_j, and [(Σ Δg_j − g_i(params_i)) + a_i ḡ]/(b − a_i) for a model whose sample i is a member.

        b is the weight of the batch, or a public number, and then nothing is taken from it.
        The passes of the model with all samples are in float64 where it has hidden layers: training them amplifies rounding.
        """
        linear = len(self._problem.model.shapes) == 1
        problem, model, base = self._problem, self._problem.model, params.base
        total = torch.zeros_like(params.value)
        change = torch.zeros_like(params.change)
        for rows in row_blocks(batch.rows, self._block):
            narrow, targets = take(self._inputs, rows), take(problem.targets, rows)
            passes = (
                model.forward_backward(base, narrow, targets, problem.likelihood, problem.weights_of(rows))
                if linear
                else problem.forward_backward(params.value, rows)
            )
            clipping = clip_of(passes, self._clip_norm)
            total += model.gradient(passes, clipping)
            passes = passes.to(change.dtype, narrow)
            clipping = None if clipping is None else clipping.to(change.dtype)
            change += model.gradient_change(base, params.change, passes, clipping, self._buffer)
            self._loss_sum += float(passes.losses.sum())
            self._n_losses += len(passes.losses)
        whole = batch_weight(problem, batch)
        mean = total / (whole or 1.0)
        members = batch.holds(self._indices).nonzero().flatten()
        divisor = change.new_full((len(change), 1), whole or 1.0)
        if len(members) > 0:
            own = problem.own_forward_backward(base + params.change[members], self._indices[members])
            change[members] -= problem.gradient(own, self._clip_norm)
            if batch.shrinks:
                leaving = weight_of(problem, self._indices[members])[:, None]
                change[members] += leaving.to(change.dtype) * mean.to(change.dtype)
                divisor[members] = (whole - leaving).to(change.dtype)
        emptied = divisor[:, 0] <= EMPTY * whole
        change /= divisor
        change[emptied] = -mean.to(change.dtype)
        return Pair(mean, change)

    def require_progress(self, params: Pair, epoch: int) -> None:
        """Refuses to go on where training has left all sense; called after every epoch.

        Raises:
            ConvergenceError: with the epoch, the sample and the remedy.
        """
        loss = self._loss_sum / max(1, self._n_losses)
        self._loss_sum, self._n_losses = 0.0, 0
        first = self._first_loss = loss if self._first_loss is None else self._first_loss
        private = self._clip_norm is not None
        finite = bool(torch.isfinite(params.value).all()) and math.isfinite(loss)
        if not finite or (loss > DIVERGED * max(first, 1.0) and not private):
            raise ConvergenceError(
                f"Training diverged in epoch {epoch}: the mean loss of the model with all samples went from {first:.3g} to "
                f"{loss:.3g} nats. {REMEDY}"
            )
        lost = ~torch.isfinite(params.change.sum(1))
        if bool(lost.any()):
            index = int(self._indices[lost][0])
            raise ConvergenceError(
                f"Training without the sample in row {index} diverged in epoch {epoch} ({int(lost.sum())} of {len(lost)} "
                f"models). {REMEDY} Or leave the row out (indices)."
            )


def model_row_bytes(model: Mlp, dtype: torch.dtype) -> int:
    """Memory of what is alive at once for one sample in one model: per layer its changes, and gelu's in float64."""
    *hidden, n_outputs = model.sizes[1:]
    wide = 6 * 8 * max(hidden, default=0) if model.activation.name == "gelu" else 0
    return dtype.itemsize * (3 * n_outputs + 6 * sum(hidden)) + wide


class LossWithout:
    """Gradient of the mean loss over a batch, without one sample where asked, taken directly."""

    def __init__(self, trainer: Trainer, index: Tensor) -> None:
        """For the model without the sample in `index` (1,), or with all (0,)."""
        self._problem, self._clip_norm, self._index = trainer.problem, trainer.recipe.clip_norm, index

    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """The pair has no changes."""
        problem = self._problem
        total = problem.gradient_sum(params.value, batch.rows, self._clip_norm)
        whole = count = batch_weight(problem, batch)
        if bool(batch.holds(self._index).any()):
            own = problem.gradient(problem.forward_backward(params.value, self._index), self._clip_norm)
            total = total - own
            count -= float(weight_of(problem, self._index)) if batch.shrinks else 0.0
        return Pair(total / count if count > EMPTY * whole else torch.zeros_like(total), params.change)


def batch_weight(problem: NetworkProblem, batch: Batch) -> float:
    """What the summed gradient of a batch is divided by: the weight of its samples, or a public number."""
    if not batch.shrinks or problem.weights is None:
        return float(batch.normalizer)
    return float(take(problem.weights, batch.rows).sum())
