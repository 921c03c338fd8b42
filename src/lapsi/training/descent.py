"""Training step by step: one model, and at the same time what is different in every model without one sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lapsi.settings.recipe import Recipe
from lapsi.training.optimizers import Decay, ascent, learning_rate, make_optimizer
from lapsi.training.pair import Pair
from lapsi.training.sampling import Batch, batches

BATCHES, NOISE = 1, 2  # streams of random numbers, independent for one seed

LossGradient = Callable[[Pair, Batch], Pair]


def descend(
    params: Pair, loss_gradient: LossGradient, recipe: Recipe, decay: Decay, n_samples: int, seed: int
) -> Iterator[int]:
    """Trains `params` in place; yields the number of epochs done after each.

    Args:
        params: where training starts, and where it stands after each epoch.
        loss_gradient: of the mean loss over a batch, as a pair.
        recipe, decay: how to train.
        n_samples: N.
        seed: of batches and noise.
    """
    optimizer = make_optimizer(recipe, params, decay)
    shuffle, noise = random_numbers(seed, BATCHES), random_numbers(seed, NOISE)
    for epoch in range(recipe.epochs):
        rate = learning_rate(recipe, epoch)
        for batch in batches(recipe, n_samples, shuffle, params.value.device):
            gradient = loss_gradient(params, batch)
            if recipe.sam_radius > 0:
                up = ascent(gradient, recipe.sam_radius)
                gradient = loss_gradient(Pair(params.value + up.value, params.change + up.change), batch)
            if recipe.clip_norm is not None and recipe.noise_multiplier > 0:
                deviation = recipe.noise_multiplier * recipe.clip_norm / batch.normalizer
                drawn = torch.from_numpy(noise.standard_normal(len(params.value)))
                gradient.value.add_(drawn.to(params.value.device), alpha=deviation)
            optimizer.step(params, gradient, rate)
        yield epoch + 1


def random_numbers(seed: int, stream: int) -> np.random.Generator:
    """The random numbers of one purpose (`BATCHES` or `NOISE`) for one seed."""
    return np.random.default_rng((seed, stream))
