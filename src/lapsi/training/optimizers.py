"""The steps of torch.optim for a model and its changes at once.

What is linear (momentum, decay) acts on the changes as on the value; what is not (Adam's division) is written in difference
form. Order of operations as in torch.optim, so that value + change is what torch gives for each model alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.settings.recipe import Recipe
from lapsi.training.pair import Pair


@dataclass(frozen=True, slots=True)
class Decay:
    """Weight decay of the model with all samples, and how much more of it the models without one have, (B, 1) or none."""

    weight: float
    extra: Tensor | None = None


class Optimizer(ABC):
    """A first-order optimiser with its state."""

    @abstractmethod
    def step(self, params: Pair, gradient: Pair, rate: float) -> None:
        """Moves `params` in place along `gradient` (of the loss alone; may be overwritten) at learning rate `rate`."""


@final
class Sgd(Optimizer):
    """Gradient descent with momentum, as torch.optim.SGD."""

    def __init__(self, params: Pair, decay: Decay, momentum: float, nesterov: bool) -> None:
        """Buffers in the shapes of `params`."""
        self._decay, self._momentum, self._nesterov = decay, momentum, nesterov
        self._buffer = params.zeros_like()

    def step(self, params: Pair, gradient: Pair, rate: float) -> None:
        """As the base class says."""
        _add_decay(gradient, params, self._decay)
        for part, slope, buffer in _parts(params, gradient, self._buffer):
            step = slope
            if self._momentum > 0:
                buffer.mul_(self._momentum).add_(slope)
                step = slope.add_(buffer, alpha=self._momentum) if self._nesterov else buffer
            part.sub_(step, alpha=rate)


@final
class Adam(Optimizer):
    """Adam, as torch.optim.Adam; with `decoupled` weight decay torch.optim.AdamW."""

    def __init__(self, params: Pair, decay: Decay, betas: tuple[float, float], epsilon: float, decoupled: bool) -> None:
        """Moments in the shapes of `params`."""
        self._decay, self._betas, self._epsilon, self._decoupled = decay, betas, epsilon, decoupled
        self._mean, self._square = params.zeros_like(), params.zeros_like()
        self._moved_square = params.change.new_zeros(params.change.shape)
        self._n_steps = 0

    def step(self, params: Pair, gradient: Pair, rate: float) -> None:
        """As the base class says.

        With u = m/(s + ε) and s = √v: Δu = (Δm − u Δs)/(s′ + ε), Δs = Δv/(s′ + s). The second moment v′ of each changed
        model is summed on its own: it only divides, and cannot fall below 0.
        """
        self._n_steps += 1
        if self._decoupled:
            pull = None if self._decay.extra is None else self._decay.extra * (params.change + params.base)
            params.change.mul_(1 - rate * self._decay.weight)
            if pull is not None:
                params.change.sub_(pull, alpha=rate)
            params.value.mul_(1 - rate * self._decay.weight)
        else:
            _add_decay(gradient, params, self._decay)
        beta_mean, beta_square = self._betas
        slope, slope_change = gradient.base, gradient.change
        for mean, part in ((self._mean.value, gradient.value), (self._mean.change, slope_change)):
            mean.lerp_(part, 1 - beta_mean)
        self._square.value.mul_(beta_square).addcmul_(gradient.value, gradient.value, value=1 - beta_square)
        moved = slope + slope_change
        self._moved_square.mul_(beta_square).addcmul_(moved, moved, value=1 - beta_square)
        self._square.change.mul_(beta_square).addcmul_(slope_change, slope + moved, value=1 - beta_square)
        mean_scale, square_scale = 1 - beta_mean**self._n_steps, 1 - beta_square**self._n_steps
        root = (self._square.value / square_scale).sqrt()
        ratio = self._mean.value / mean_scale / (root + self._epsilon)
        params.value.sub_(ratio, alpha=rate)
        self._step_change(params.change, root.to(slope.dtype), ratio.to(slope.dtype), mean_scale, square_scale, rate)

    def _step_change(
        self, change: Tensor, root: Tensor, ratio: Tensor, mean_scale: float, square_scale: float, rate: float
    ) -> None:
        moved_root = (self._moved_square / square_scale).sqrt_()
        tiny = torch.finfo(change.dtype).tiny
        root_change = self._square.change / square_scale / (moved_root + root + tiny)
        change.sub_((self._mean.change / mean_scale - ratio * root_change) / (moved_root + self._epsilon), alpha=rate)


def make_optimizer(recipe: Recipe, params: Pair, decay: Decay) -> Optimizer:
    """The optimiser of a recipe, its state at 0."""
    if recipe.optimizer == "sgd":
        return Sgd(params, decay, recipe.momentum, recipe.nesterov)
    return Adam(params, decay, recipe.betas, recipe.epsilon, decoupled=recipe.optimizer == "adamw")


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Of epoch 0, 1, …, as torch's StepLR and CosineAnnealingLR (over all epochs) give it when stepped once an epoch."""
    if recipe.schedule == "step":
        return recipe.learning_rate * recipe.step_factor ** (epoch // recipe.step_epochs)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
    return recipe.learning_rate


def ascent(gradient: Pair, radius: float) -> Pair:
    """SAM's way up, radius·g/‖g‖ (0 where g is), and its changes radius·(Δg − g Δ‖g‖/‖g‖)/‖g′‖."""
    base, change = gradient.base, gradient.change
    norm, moved = base.norm(), (base + change).norm(dim=1, keepdim=True)
    tiny = torch.finfo(change.dtype).tiny
    norm_change = (change * (2 * base + change)).sum(1, keepdim=True) / (moved + norm + tiny)
    up = radius * gradient.value / (gradient.value.norm() + torch.finfo(torch.float64).tiny)
    up_change = radius * (change - base * (norm_change / (norm + tiny))) / (moved + tiny)
    return Pair(up, torch.where(moved > 0, up_change, -up.to(change.dtype)))


def _add_decay(gradient: Pair, params: Pair, decay: Decay) -> None:
    gradient.change.add_(params.change, alpha=decay.weight)
    if decay.extra is not None:
        gradient.change.add_(decay.extra * (params.change + params.base))
    gradient.value.add_(params.value, alpha=decay.weight)


def _parts(*pairs: Pair) -> list[tuple[Tensor, ...]]:
    return [tuple(pair.value for pair in pairs), tuple(pair.change for pair in pairs)]
