"""What is seen of the samples while a probe is trained on all of them: the passes that measures of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lapsi.engines.retrain.steps import probe_trainer
from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled
from lapsi.models.passes import ForwardBackward
from lapsi.settings.recipe import Recipe

BATCH_SIZE, LEARNING_RATE = 128, 1e-3
EARLY_EPOCHS, EARLY_SEEDS = 10, 10


def recipe_of(data: Labelled, epochs: int, seeds: int) -> Recipe:
    """Shuffled batches as the measures' authors have them, by Adam, whose steps do not depend on the scale of the features."""
    return Recipe(
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        epochs=epochs,
        batching="shuffled",
        batch_size=min(BATCH_SIZE, len(data.labels)),
        seeds=seeds,
    )


def passes_after(data: Labelled, recipe: Recipe, epochs: set[int], advance: Advance) -> Iterator[ForwardBackward]:
    """Both passes over all samples after some of the epochs, in order, one seed after the other."""
    trainer, everyone = probe_trainer(data.problem, torch.float64, recipe), slice(0, len(data.inputs))
    for seed in range(recipe.seeds):
        for epoch, params in enumerate(trainer.course(None, data.seed + seed)):
            if epoch in epochs:
                yield data.problem.forward_backward(params, everyone)
            advance(int(epoch > 0))


def early_mean(data: Labelled, number: Callable[[ForwardBackward], Tensor], advance: Advance) -> np.ndarray:
    """Mean over 10 trainings of a number of each sample (N,) after 10 epochs, float64."""
    passes = passes_after(data, recipe_of(data, EARLY_EPOCHS, EARLY_SEEDS), {EARLY_EPOCHS}, advance)
    return torch.stack([number(each) for each in passes]).mean(0).numpy(force=True)
