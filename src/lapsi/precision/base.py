"""What every precision structure offers, and the scalar function at the heart of the KL divergence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

SERIES_BELOW = 1e-3
Change = TypeVar("Change")


@dataclass(frozen=True, slots=True)
class KLTerms:
    """KL(q ‖ q₋ᵢ) of n units in nats, as its two parts; the divergence is their sum.

    Attributes:
        mean: (n,) ½ shiftᵀ Λ₋ᵢ shift.
        curvature: (n,) ½ [tr(Λ₋ᵢΛ⁻¹) − P − ln det(Λ₋ᵢΛ⁻¹)].
        alone: (n,) each, the divergence of parts of the params by their names, where the model has such parts.
    """

    mean: Tensor
    curvature: Tensor
    alone: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """(n,) the divergence."""
        return self.mean + self.curvature


def joined(terms: list[KLTerms]) -> KLTerms:
    """The terms of one unit after another."""
    alone = {name: torch.cat([term.alone[name] for term in terms]) for name in (terms[0].alone if terms else ())}
    return KLTerms(torch.cat([term.mean for term in terms]), torch.cat([term.curvature for term in terms]), alone)


def summed(terms: list[KLTerms]) -> KLTerms:
    """The terms of the same units over parts of the params that are independent."""
    return KLTerms(torch.stack([term.mean for term in terms]).sum(0), torch.stack([term.curvature for term in terms]).sum(0))


class Precision(ABC, Generic[Change]):
    """A symmetric positive definite precision matrix Λ (P, P) of one structure, and the type of its changes."""

    @abstractmethod
    def quad(self, vectors: Tensor) -> Tensor:
        """vᵀΛv for the rows of `vectors` (n, P)."""

    @abstractmethod
    def to_dense(self) -> Tensor:
        """Λ as a (P, P) tensor."""

    @abstractmethod
    def kl_terms(self, shift: Tensor, change: Change) -> KLTerms:
        """KL(N(0, Λ⁻¹) ‖ N(shift_i, Λ₋ᵢ⁻¹)) for n units.

        Args:
            shift: (n, P) difference of the means.
            change: Λ₋ᵢ − Λ for each unit.
        """

    @abstractmethod
    def kl_to(self, shift: Tensor, other: Self) -> KLTerms:
        """KL(N(0, Λ⁻¹) ‖ N(shift, other⁻¹)) for another precision of the same structure and one shift (P,); terms (1,)."""


def excess(ratio: Tensor) -> Tensor:
    """ε − ln(1 + ε) elementwise, to full relative precision (docs/math.md, What is computed); ε > −1.

    Below 1e-3 the series ε²/2 − ε³/3 + ε⁴/4 − ε⁵/5 + ε⁶/6 replaces the difference of nearly equal numbers.
    """
    series = ratio.square() * (1 / 2 - ratio * (1 / 3 - ratio * (1 / 4 - ratio * (1 / 5 - ratio / 6))))
    if float(ratio.abs().amax()) < SERIES_BELOW:
        return series
    return torch.where(ratio.abs() < SERIES_BELOW, series, ratio - torch.log1p(ratio))


def ratio_excess(ratio: Tensor) -> Tensor:
    """tr E − ln det(I + E) (a scalar) of a symmetric ratio E (P, P): Σ of `excess` over its eigenvalues.

    Where E is small the series tr(E²)/2 − tr(E³)/3 + tr(E⁴)/4 takes one matrix product and no eigenvalues.
    """
    if float(ratio.square().sum().sqrt()) < SERIES_BELOW:
        square = ratio @ ratio
        return ratio.square().sum() / 2 - (square * ratio).sum() / 3 + square.square().sum() / 4
    return excess(torch.linalg.eigvalsh(ratio)).sum()
