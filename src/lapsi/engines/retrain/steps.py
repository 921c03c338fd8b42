"""The loss of a probe without samples, in difference form and directly (docs/math.md, Retraining)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.engines.retrain.trainer import BatchLoss, Losses, Trainer
from lapsi.models.mlp import Mlp
from lapsi.models.passes import clip_of
from lapsi.problem.base import weight_of
from lapsi.problem.network import NetworkProblem, row_blocks, take
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import LossGradient
from lapsi.training.pair import Pair
from lapsi.training.sampling import Batch

BLOCK_BYTES = 64 * 2**20
EMPTY = 1e-12  # share of a batch's weight below which nothing is left of it


@final
@dataclass(frozen=True, slots=True, eq=False)
class ProbeLosses(Losses[NetworkProblem]):
    """Those of a probe.

    Attributes:
        problem: data, model, likelihood, objective.
        inputs: of the problem, in the dtype of the changes.
        clip_norm: as in `Recipe`.
    """

    problem: NetworkProblem
    inputs: Tensor
    clip_norm: float | None

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    def without_each(self, indices: Tensor) -> BatchLoss:
        return LeaveOneOutLoss(self, indices)

    def without(self, index: Tensor) -> LossGradient:
        return LossWithout(self, index)


def probe_trainer(problem: NetworkProblem, dtype: torch.dtype, recipe: Recipe) -> Trainer[NetworkProblem]:
    """Trains a probe, changes in a dtype."""
    return Trainer(ProbeLosses(problem, problem.inputs.to(dtype), recipe.clip_norm), recipe)


@final
class LeaveOneOutLoss(BatchLoss):
    """Gradient of the mean loss over a batch, and its change in every model that lacks a sample."""

    def __init__(self, losses: ProbeLosses, indices: Tensor) -> None:
        """For the models without sample indices[b] (B,)."""
        sizes = losses.problem.model.sizes
        row_bytes = model_row_bytes(losses.problem.model, losses.dtype) * max(1, len(indices))
        self._problem, self._inputs, self._clip_norm = losses.problem, losses.inputs, losses.clip_norm
        self._indices = indices
        self._block = max(16, min(len(self._inputs), BLOCK_BYTES // row_bytes))
        self._buffer = self._inputs.new_empty(self._block * sizes[1] * len(indices))
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

    def mean_since(self) -> float:
        mean = self._loss_sum / max(1, self._n_losses)
        self._loss_sum, self._n_losses = 0.0, 0
        return mean


def model_row_bytes(model: Mlp, dtype: torch.dtype) -> int:
    """Memory of what is alive at once for one sample in one model: per layer its changes, and gelu's in float64."""
    *hidden, n_outputs = model.sizes[1:]
    wide = 6 * 8 * max(hidden, default=0) if model.activation.name == "gelu" else 0
    return dtype.itemsize * (3 * n_outputs + 6 * sum(hidden)) + wide


class LossWithout:
    """Gradient of the mean loss over a batch, without one sample where asked, taken directly."""

    def __init__(self, losses: ProbeLosses, index: Tensor) -> None:
        """For the model without the sample in `index` (1,), or with all (0,)."""
        self._problem, self._clip_norm, self._index = losses.problem, losses.clip_norm, index

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
