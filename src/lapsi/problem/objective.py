"""The training objective, its prior, and what leaving a sample out changes of them (the removal convention).

With samples of total weight W (N samples, where each counts once) the mean-form objective is
F(θ) = (1/W) Σ a_j loss_j + (w/2)‖θ‖²; times W it is Σ a_j loss_j + (W·w/2)‖θ‖².
All of lapsi works with the sum form, whose L2 strength is `l2(W)`; a model without a sample of weight a has `l2_without(W, a)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from lapsi.settings.objective import MAP

Weight = TypeVar("Weight", float, Tensor)


@dataclass(frozen=True, slots=True)
class Objective:
    """Weight decay, prior precision and removal convention; the meanings are those of `ObjectiveSpec`."""

    weight_decay: float
    prior_precision: float | str
    removal: str

    def l2(self, total: float) -> float:
        """L2 strength of the sum-form objective of samples of this total weight: W·w."""
        return total * self.weight_decay

    def l2_drop(self, removed: Weight) -> Weight:
        """How much the L2 strength falls when a weight leaves: w for each if the mean loss keeps w, else 0."""
        return removed * (self.weight_decay if self.removal == "mean" else 0.0)

    def l2_without(self, total: float, removed: Weight) -> Weight:
        """L2 strength of the sum-form objective without a part of the weight."""
        return self.l2(total) - self.l2_drop(removed)

    def without(self, total: float, removed: float) -> Objective:
        """That of a training without a part of the weight: its mean loss has the weight decay that gives `l2_without`."""
        return replace(self, weight_decay=self.l2_without(total, removed) / (total - removed))

    def prior(self, total: float) -> float:
        """Prior precision of the posterior of samples of this total weight."""
        return self.l2(total) if self.prior_precision == MAP else float(self.prior_precision)

    def prior_drop(self, removed: Weight) -> Weight:
        """How much the prior precision falls when a weight leaves."""
        return self.l2_drop(removed) if self.prior_precision == MAP else 0.0 * removed
