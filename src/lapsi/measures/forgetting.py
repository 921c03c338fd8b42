"""Forgetting (Toneva et al. 2019): how often in training a sample goes from predicted right to predicted wrong."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import torch

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.measures.training_dynamics import passes_after, recipe_of
from lapsi.results.columns import Column

EPOCHS, SEEDS = 50, 3


@final
class Forgetting(Measure):
    """Looked at after each of 50 epochs, mean of 3 trainings; a sample that is never right counts as forgotten each time."""

    name: ClassVar[str] = "forgetting"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "forgetting",
            "forgetting",
            "how often it goes from right to wrong in 50 epochs of training, mean of 3 trainings; 50: never right",
            "forgetting",
            ".1f",
            direction="high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return EPOCHS * SEEDS

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        passes = passes_after(data, recipe_of(data, EPOCHS, SEEDS), set(range(1, EPOCHS + 1)), advance)
        right = torch.stack([each.outputs.argmax(1) == data.labels for each in passes])
        counts = forgotten(right.view(SEEDS, EPOCHS, -1))
        return {"forgetting": counts.double().mean(0).numpy(force=True)}


def forgotten(right: torch.Tensor) -> torch.Tensor:
    """How often each sample is forgotten (S, N), of whether it was right after each epoch (S, E, N)."""
    counts = (right[:, :-1] & ~right[:, 1:]).sum(1)
    return counts.where(right.any(1), right.shape[1])
