"""Many models of one torch module trained at once, each without one sample, by `torch.func` over stacked parameters.

Each is trained as its change against the one model with all samples, as in `lapsi.engines.retrain.steps`; but the gradient of a
module of any kind is taken at the changed parameters and subtracted: changes are as exact as the dtype of the module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lapsi.data.batches import Arguments
from lapsi.errors import ConvergenceError
from lapsi.models.likelihoods.base import weighted
from lapsi.models.module.capture import evaluating, outputs_among
from lapsi.models.module.footprint import footprint
from lapsi.models.module.layers import Layer
from lapsi.models.passes import NORM_OFFSET
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import descend
from lapsi.training.optimizers import Decay
from lapsi.training.pair import Pair, Snapshot
from lapsi.training.sampling import Batch

STEP_BYTES = 2**30  # of what goes through the models of a step at once
NOBODY = -1  # in place of a sample: the model without it has all


@dataclass(frozen=True, slots=True, eq=False)
class StackedTrainer:
    """Trains models of a module without one sample each.

    Attributes:
        problem: the module and its data; its own parameters are where training starts.
        recipe: how to train.
        at_once: models whose gradients are taken together.
    """

    problem: ModuleProblem
    recipe: Recipe
    at_once: int

    def __call__(
        self, indices: Tensor, start: Tensor, seed: int, epochs: set[int], advance: Callable[[int], None]
    ) -> Iterator[Snapshot]:
        """Trains the models without sample indices[b] (B,) from params `start` (P,); yields after those `epochs`.

        `seed`: of batches and noise; `advance` is told each epoch.

        Raises:
            ConvergenceError: when training diverges, with the epoch and the remedy.
        """
        pair = Pair(start.double().clone(), torch.zeros(len(indices), len(start), dtype=self.problem.batches.dtype))
        at_once = min(self.at_once, max(1, len(indices)))
        loss = StackedLoss(self.problem, indices, at_once, rows_at_once(self.problem, at_once), self.recipe.clip_norm)
        if 0 in epochs:
            yield Snapshot(0, pair.value, pair.change)
        with evaluating(self.problem.module):
            for epoch in descend(pair, loss, self.recipe, self.decay(indices), self.problem.n_samples, seed):
                if not bool(pair.value.isfinite().all() and pair.change.isfinite().all()):
                    raise ConvergenceError(f"Training diverged in epoch {epoch}. Use a smaller learning rate.")
                advance(1)
                if epoch in epochs:
                    yield Snapshot(epoch, pair.value, pair.change)

    def decay(self, indices: Tensor) -> Decay:
        """Weight decay with all samples, and what the models without samples indices[b] (B,) have more."""
        problem, weight = self.problem, self.problem.objective.weight_decay
        if problem.objective.removal != "sum" or self.recipe.public_divisor:
            return Decay(weight)
        leaving = weight_of(problem, indices)
        return Decay(weight, (weight * leaving / (problem.total - leaving))[:, None].to(problem.batches.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class StackedLoss:
    """Gradient of the mean loss over a batch, and its change in every model that lacks a sample.

    Attributes:
        problem: the module and its data.
        indices: (B,) the samples that the models lack, or `NOBODY`.
        at_once: models whose gradients are taken together.
        rows_at_once: samples that go through them at once.
        clip_norm: largest norm of the gradient of a sample; None does not clip.
    """

    problem: ModuleProblem
    indices: Tensor
    at_once: int
    rows_at_once: int
    clip_norm: float | None

    def __call__(self, params: Pair, batch: Batch) -> Pair:
        """At a pair of parameters; the batch is divided by its weight, that of the sample taken out where it is a member."""
        problem = self.problem
        rows = torch.arange(batch.rows.start, batch.rows.stop) if isinstance(batch.rows, slice) else batch.rows
        if len(rows) == 0:  # a Poisson batch may have no members
            return Pair(torch.zeros_like(params.value), torch.zeros_like(params.change))
        gradient, weights = self._gradient_of(rows), weight_of(problem, rows)
        whole = float(weights.sum()) if batch.shrinks else float(batch.normalizer)
        own = weights.to(params.change.dtype)
        total = gradient(params.base, own)
        mean = total.double() / whole
        if len(params.change) == 0:
            return Pair(mean, params.change)
        lacks = self.indices[:, None] == rows.to(self.indices.device)
        left = own * ~lacks
        leaving = (own * lacks).sum(1, keepdim=True) if batch.shrinks else 0.0
        own_params = params.base + params.change
        if self.at_once > 1:
            found = vmap(gradient, chunk_size=self.at_once)(own_params, left)
        else:
            found = torch.stack([gradient(*each) for each in zip(own_params, left, strict=True)])
        return Pair(mean, found / (whole - leaving) - total / whole)

    def _gradient_of(self, rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Σ_j w_j g_j of samples `rows` (n,), as many through the module at once as memory holds, of params and weights."""
        parts, clip_norm = rows.split(self.rows_at_once), self.clip_norm
        of_parts = [
            grad(loss_sum(self.problem, part)) if clip_norm is None else clipped_sum(self.problem, part, clip_norm)
            for part in parts
        ]

        def gradient(params: Tensor, weights: Tensor) -> Tensor:
            each = zip(of_parts, weights.split(self.rows_at_once), strict=True)
            return reduce(add, (of_part(params, own) for of_part, own in each))

        return gradient


def rows_at_once(problem: ModuleProblem, at_once: int) -> int:
    """Samples that go through some models at once, with what the way back needs."""
    taken = footprint(problem.module, problem.layers, problem.batches)
    return max(1, STEP_BYTES // (at_once * taken.pass_bytes(1, max(4, problem.batches.dtype.itemsize))))


def loss_sum(problem: ModuleProblem, rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Σ_j w_j loss_j of samples `rows` (n,), as a function of params (P,) and weights w (n,)."""
    given = problem.batches.take(rows)
    targets = problem.loss.targets_of(rows, given.targets)

    def summed(params: Tensor, weights: Tensor) -> Tensor:
        outputs = outputs_among(functional_call(problem.module, named(problem.layers, params), given.inputs, given.named))
        return weighted(problem.loss.losses(outputs, targets), weights).sum()

    return summed


def clipped_sum(problem: ModuleProblem, rows: Tensor, clip_norm: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Σ_j w_j g_j·min(1, clip_norm/(‖g_j‖ + 1e-6)) (P,) of samples `rows` (n,), as a function of params and weights.

    (Abadi et al. 2016.)
    """
    given = problem.batches.take(rows)
    targets = problem.loss.targets_of(rows, given.targets)

    def alone(params: Tensor, target: Tensor, inputs: tuple[Tensor, ...], by_name: dict[str, Tensor]) -> Tensor:
        one = tuple(value[None] for value in inputs), {name: value[None] for name, value in by_name.items()}
        outputs = outputs_among(functional_call(problem.module, named(problem.layers, params), *one))
        return problem.loss.losses(outputs, target[None])[0]

    def summed(params: Tensor, weights: Tensor) -> Tensor:
        each = _of_each(grad(alone), params, targets, given)
        norms = torch.linalg.vector_norm(each, dim=1) + NORM_OFFSET
        return (weights * (clip_norm / norms).clamp(max=1.0)) @ each

    return summed


def _of_each(gradient: Callable[..., Tensor], params: Tensor, targets: Tensor, given: Arguments) -> Tensor:
    """(n, P) of each sample; one after the other where the module decides by its input, as by a mask."""
    try:
        return vmap(gradient, in_dims=(None, 0, 0, 0))(params, targets, given.inputs, given.named)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
    one = [
        (tuple(value[row] for value in given.inputs), {name: value[row] for name, value in given.named.items()})
        for row in range(len(targets))
    ]
    return torch.stack([gradient(params, target, *inputs) for target, inputs in zip(targets, one, strict=True)])


def outputs_at(problem: ModuleProblem, params: Tensor, rows: Tensor) -> Tensor:
    """Outputs (B, K) as `Problem.outputs` tells them, of sample rows[b] (B,) under params (B, P) of its own."""
    found = []
    with evaluating(problem.module), torch.no_grad():
        for own, row in zip(params, rows, strict=True):
            given = problem.batches.take(row[None])
            outputs = outputs_among(functional_call(problem.module, named(problem.layers, own), given.inputs, given.named))
            found.append(problem.loss.told(outputs, problem.loss.targets_of(row[None], given.targets)))
    return torch.cat(found)


def named(layers: tuple[Layer, ...], params: Tensor) -> dict[str, Tensor]:
    """Params (P,) by the names that the module has for them."""
    parts = params.split([layer.n_params for layer in layers])
    return {
        f"{layer.name}.{key}" if layer.name else key: value
        for layer, part in zip(layers, parts, strict=True)
        for key, value in layer.split(part).items()
    }
