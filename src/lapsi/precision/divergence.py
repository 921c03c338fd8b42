"""Divergences of N(0, Λ⁻¹) from N(shift, Λ₋ᵢ⁻¹), in difference form (docs/math.md, Rényi divergence).

With X(t) = t tr E − ln det(I + tE), Λ_t = Λ + t(Λ₋ᵢ − Λ) and t = 1 − α:

    KL = ½ shiftᵀ Λ₋ᵢ shift + ½ X(1),    D_α = (α/2) shiftᵀ Λ₋ᵢ Λ_t⁻¹ Λ shift + ½ [X(1) − X(t)/t]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from lapsi.precision.base import Comparison, Terms


class Divergence(ABC):
    """A way to tell two Gaussians apart, in nats.

    Attributes:
        may_be_infinite: whether it is so of some that differ by little.
    """

    may_be_infinite: ClassVar[bool]

    @abstractmethod
    def of(self, comparison: Comparison) -> Terms:
        """Of n units."""


@final
@dataclass(frozen=True, slots=True)
class KL(Divergence):
    """The Kullback–Leibler divergence."""

    may_be_infinite: ClassVar[bool] = False

    def of(self, comparison: Comparison) -> Terms:
        return Terms(0.5 * comparison.quad(), 0.5 * comparison.excess())


@final
@dataclass(frozen=True, slots=True)
class Renyi(Divergence):
    """The Rényi divergence (van Erven and Harremoës 2014; of Gaussians: Gil, Alajaji and Linder 2013).

    Infinite, in both parts, where αΛ + (1 − α)Λ₋ᵢ is not positive definite.

    Attributes:
        order: α, positive and not 1, where it is KL.
    """

    may_be_infinite: ClassVar[bool] = True

    order: float

    def of(self, comparison: Comparison) -> Terms:
        t = 1 - self.order
        mixed = comparison.mixed(t)
        curvature = 0.5 * (comparison.excess() - mixed.excess / t)
        return Terms(torch.where(curvature == torch.inf, torch.inf, 0.5 * self.order * mixed.quad), curvature)


@final
@dataclass(frozen=True, slots=True)
class Several(Divergence):
    """Some divergences of the same units, one after the other in terms (o, n)."""

    may_be_infinite: ClassVar[bool] = True

    divergences: tuple[Divergence, ...]

    def of(self, comparison: Comparison) -> Terms:
        terms = [each.of(comparison) for each in self.divergences]
        return Terms(torch.stack([term.mean for term in terms]), torch.stack([term.curvature for term in terms]))


KULLBACK_LEIBLER = KL()


def of_order(order: float) -> Divergence:
    """The Rényi divergence of an order; of order 1 it is KL."""
    return KULLBACK_LEIBLER if order == 1 else Renyi(order)
