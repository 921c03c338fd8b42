"""GraNd (Paul, Ganguli and Dziugaite 2021): the norm of a sample's gradient early in training, mean over several trainings."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import torch

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.measures.training_dynamics import passes_after, recipe_of
from lapsi.results.columns import Column

EPOCHS, SEEDS = 10, 10


@final
class Grand(Measure):
    """After 10 epochs, of 10 trainings, over all weights of the probe."""

    name: ClassVar[str] = "grand"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "grand",
            "GraNd",
            "norm of the sample's gradient after 10 epochs of training, mean of 10 trainings; high: hard",
            "grand",
            ".2e",
            "",
            "high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return EPOCHS * SEEDS

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        passes = passes_after(data, recipe_of(data, EPOCHS, SEEDS), {EPOCHS}, advance)
        norms = [each.gradient_norm_squares().sqrt() for each in passes]
        return {"grand": torch.stack(norms).mean(0).numpy(force=True)}
