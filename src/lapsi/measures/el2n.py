"""EL2N (Paul, Ganguli and Dziugaite 2021): the norm of the error ‖p − e_y‖ early in training, mean over several trainings."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.measures.training_dynamics import EARLY_EPOCHS, EARLY_SEEDS, early_mean
from lapsi.results.columns import Column


@final
class El2n(Measure):
    """After 10 epochs, of 10 trainings."""

    name: ClassVar[str] = "el2n"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "el2n",
            "EL2N",
            "norm of p − e_y after 10 epochs of training, mean of 10 trainings; high: hard",
            "el2n",
            ".3f",
            direction="high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return EARLY_EPOCHS * EARLY_SEEDS

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        return {"el2n": early_mean(data, lambda passes: passes.deltas[-1].norm(dim=1), advance)}
