"""What a curvature structure offers: the divergence between the posteriors with and without what left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch

from lapsi.errors import ConvergenceError
from lapsi.precision.base import Terms
from lapsi.precision.divergence import Divergence
from lapsi.problem.removed import Removed

EXACT, REMOVAL_FORM = "exact", "removal form"


@contextmanager
def told_not_positive(structure: str) -> Iterator[None]:
    """A factorisation that fails within is told as a posterior of this structure that is none.

    Raises:
        ConvergenceError: with the remedy.
    """
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ConvergenceError(
            f"The {structure} posterior is not positive definite in float64. Use a larger weight decay or prior "
            "precision, or curvature 'diag'."
        ) from error


class Curvature(ABC):
    """The Laplace posterior of one structure, and its change when units leave.

    Attributes:
        kind: of the divergence.
    """

    kind: Divergence

    @property
    @abstractmethod
    def form(self) -> str:
        """What the divergence of a settled removal is: `EXACT`, or `REMOVAL_FORM` where the others' curvature is held."""

    @abstractmethod
    def divergence(self, removed: Removed) -> Terms:
        """Of the posterior with all samples from those without each unit (n,), nats.

        Where the shift is settled the curvature of the other samples is evaluated there; else its change is taken to first
        order in the shift.

        Raises:
            ConvergenceError: when a precision is not positive definite in float64.
        """

    @abstractmethod
    def by(self, kind: Divergence) -> Self:
        """The same by another divergence."""

    @abstractmethod
    def reference(self) -> Curvature:
        """The same with all it holds in float64: what its scores are checked against, so that rounding does not cancel."""

    @abstractmethod
    def exact(self, n_units: int) -> Curvature | None:
        """The same in its exact form; None where that would cost too much for so many units."""
