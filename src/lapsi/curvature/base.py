"""What a curvature structure offers: the divergence between the posteriors with and without what left."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lapsi.precision.base import KLTerms
from lapsi.problem.removed import Removed

EXACT, REMOVAL_FORM = "exact", "removal form"


class Curvature(ABC):
    """The Laplace posterior of one structure, and its change when units leave."""

    @property
    @abstractmethod
    def form(self) -> str:
        """What the divergence of a settled removal is: `EXACT`, or `REMOVAL_FORM` where the others' curvature is held."""

    @abstractmethod
    def divergence(self, removed: Removed) -> KLTerms:
        """KL from the posterior with all samples to those without each unit (n,), nats.

        Where the shift is settled the curvature of the other samples is evaluated there; else its change is taken to first
        order in the shift.

        Raises:
            ConvergenceError: when a precision is not positive definite in float64.
        """

    @abstractmethod
    def exact(self, n_units: int) -> Curvature | None:
        """The same in its exact form; None where that would cost too much for so many units."""
