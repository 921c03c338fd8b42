"""How samples are scored: as the text of the paper says, and as its published code does where that is something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import lapsi
from experiments.verdicts import CODE, PAPER


@dataclass(frozen=True, slots=True)
class Way:
    """A recipe of the paper.

    Attributes:
        name: `"as-paper"` or `"as-code"`.
        objective: weight decay and prior.
        standardize: how features are scaled.
        training: how a probe is trained without a sample.
        first: how many samples are scored where nothing else is asked for; None: all.
        says: what it is, in a line.
    """

    name: str
    objective: lapsi.ObjectiveSpec
    standardize: str
    training: lapsi.Recipe
    first: int | None
    says: str

    def with_training(self, **changes: Any) -> Way:
        """The same, trained in another way."""
        return replace(self, training=replace(self.training, **changes))

    def with_decay(self, weight_decay: float) -> Way:
        """The same with another weight decay."""
        return replace(self, objective=replace(self.objective, weight_decay=weight_decay))

    def closed_form(self, X: np.ndarray, y: np.ndarray, **more: Any) -> lapsi.Scores:
        """Scores by the exact step from the optimum that the training goes to; all samples by default."""
        own: dict[str, Any] = {"objective": self.objective, "standardize": self.standardize}
        return lapsi.score(X, y, engine="newton", verify=0, progress=False, **own, **more)

    def retrained(
        self, X: np.ndarray, y: np.ndarray, rows: Sequence[int] | np.ndarray, every: int | None = None, **more: Any
    ) -> lapsi.Scores:
        """Scores of some samples by training without each, to the letter."""
        engine = lapsi.Retrain(self.training, every)
        own: dict[str, Any] = {"objective": self.objective, "standardize": self.standardize}
        return lapsi.score(X, y, engine=engine, indices=np.asarray(rows), verify=0, progress=False, **own, **more)


AS_PAPER = Way(
    PAPER,
    lapsi.ObjectiveSpec(weight_decay=0.01),
    "each",
    lapsi.Recipe(),
    None,
    "weight decay 0.01, the prior read from it, learning rate 0.04, 1000 epochs, 3 seeds (Appendix N); where a linear probe is "
    "ranked, the optimum that this training goes to, in closed form",
)
AS_CODE = Way(
    CODE,
    lapsi.ObjectiveSpec(weight_decay=5e-4, prior_precision=1.0),
    "one",
    lapsi.Recipe(learning_rate=0.004, seeds=1),
    50,
    "weight decay 5e-4, prior precision 1, learning rate 0.004, 1000 epochs, 1 seed, the first 50 samples scored, features not "
    "standardized one by one",
)
