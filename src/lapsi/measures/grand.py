"""GraNd (Paul, Ganguli and Dziugaite 2021): the norm of a sample's gradient early in training, mean over several trainings."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.measures.training_dynamics import EARLY_EPOCHS, EARLY_SEEDS, early_mean
from lapsi.results.columns import Column


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
            direction="high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return EARLY_EPOCHS * EARLY_SEEDS

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        return {"grand": early_mean(data, lambda passes: passes.gradient_norm_squares().sqrt(), advance)}
