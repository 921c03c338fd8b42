"""The training objective, its prior, and what leaving a sample out changes of them (the removal convention).

With N samples the mean-form objective is F(θ) = (1/N) Σ loss + (w/2)‖θ‖²; times N it is Σ loss + (N·w/2)‖θ‖².
All of lapsi works with the sum form, whose L2 strength is `l2(N)`; a model without one sample has `l2_without(N)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lapsi.settings.objective import MAP


@dataclass(frozen=True, slots=True)
class Objective:
    """Weight decay, prior precision and removal convention; the meanings are those of `ObjectiveSpec`."""

    weight_decay: float
    prior_precision: float | str
    removal: str

    def l2(self, n_samples: int) -> float:
        """L2 strength of the sum-form objective of all samples: N·w."""
        return n_samples * self.weight_decay

    def l2_drop(self, n_removed: int = 1) -> float:
        """How much the L2 strength falls when samples leave: w for each if the mean loss keeps w, else 0."""
        return n_removed * self.weight_decay if self.removal == "mean" else 0.0

    def l2_without(self, n_samples: int, n_removed: int = 1) -> float:
        """L2 strength of the sum-form objective without some of the samples."""
        return self.l2(n_samples) - self.l2_drop(n_removed)

    def without(self, n_samples: int, n_removed: int) -> Objective:
        """That of a training without some of the samples: its mean loss has the weight decay that gives `l2_without`."""
        return replace(self, weight_decay=self.l2_without(n_samples, n_removed) / (n_samples - n_removed))

    def prior(self, n_samples: int) -> float:
        """Prior precision of the posterior of all samples."""
        return self.l2(n_samples) if self.prior_precision == MAP else float(self.prior_precision)

    def prior_drop(self, n_removed: int = 1) -> float:
        """How much the prior precision falls when samples leave."""
        return self.l2_drop(n_removed) if self.prior_precision == MAP else 0.0
