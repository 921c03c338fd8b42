"""What every precision structure offers, and the scalar function at the heart of its divergences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

SERIES_BELOW = 1e-3
Change = TypeVar("Change")


@dataclass(frozen=True, slots=True)
class Terms:
    """A divergence of n units in nats, as its two parts, of which it is the sum; (o, n) where it is taken in o ways.

    Attributes:
        mean: (…, n) from the difference of the means; of KL ½ shiftᵀ Λ₋ᵢ shift.
        curvature: (…, n) from that of the precisions; of KL ½ [tr(Λ₋ᵢΛ⁻¹) − P − ln det(Λ₋ᵢΛ⁻¹)].
        alone: (…, n) each, the divergence of parts of the params by their names, where the model has such parts.
    """

    mean: Tensor
    curvature: Tensor
    alone: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """(…, n) the divergence."""
        return self.mean + self.curvature


def joined(terms: Sequence[Terms]) -> Terms:
    """The terms of some units after those of others."""
    alone = {name: torch.cat([term.alone[name] for term in terms], -1) for name in (terms[0].alone if terms else ())}
    return Terms(torch.cat([term.mean for term in terms], -1), torch.cat([term.curvature for term in terms], -1), alone)


def summed(terms: Sequence[Terms]) -> Terms:
    """The terms of units whose parameters are cut into independent blocks."""
    return Terms(torch.stack([term.mean for term in terms]).sum(0), torch.stack([term.curvature for term in terms]).sum(0))


@dataclass(frozen=True, slots=True)
class Mixed:
    """What is known of the mixture Λ_t = Λ + t(Λ₋ᵢ − Λ) of n units.

    Attributes:
        quad: (n,) shiftᵀ Λ₋ᵢ Λ_t⁻¹ Λ shift; without meaning where Λ_t is not positive definite.
        excess: (n,) t tr E − ln det(I + tE); infinite there.
    """

    quad: Tensor
    excess: Tensor


class Comparison(ABC):
    """N(0, Λ⁻¹) and N(shift_i, Λ₋ᵢ⁻¹) of n units, E = Λ^(−½) (Λ₋ᵢ − Λ) Λ^(−½): all that their divergences are made of."""

    @abstractmethod
    def quad(self) -> Tensor:
        """shiftᵀ Λ₋ᵢ shift (n,)."""

    @abstractmethod
    def excess(self) -> Tensor:
        """tr E − ln det(I + E) (n,), to full relative precision."""

    @abstractmethod
    def mixed(self, t: float) -> Mixed:
        """Of Λ_t, t < 1 and not 0; of its precisions to full relative precision.

        Raises:
            InputError: when the structure has no mixture of its own kind.
        """


class Precision(ABC, Generic[Change]):
    """A symmetric positive definite precision matrix Λ (P, P) of one structure, and the type of its changes."""

    @abstractmethod
    def quad(self, vectors: Tensor) -> Tensor:
        """vᵀΛv for the rows of `vectors` (n, P)."""

    @abstractmethod
    def to_dense(self) -> Tensor:
        """Λ as a (P, P) tensor."""

    @abstractmethod
    def compare(self, shift: Tensor, change: Change) -> Comparison:
        """With the precisions of n units.

        Args:
            shift: (n, P) difference of the means.
            change: Λ₋ᵢ − Λ for each unit.
        """

    @abstractmethod
    def compare_to(self, shift: Tensor, other: Self) -> Comparison:
        """With one other precision of the same structure, of one unit with the shift (P,)."""


def excess(ratio: Tensor) -> Tensor:
    """ε − ln(1 + ε) elementwise, to full relative precision (docs/math.md, What is computed); ε > −1.

    Below 1e-3 the series ε²/2 − ε³/3 + ε⁴/4 − ε⁵/5 + ε⁶/6 replaces the difference of nearly equal numbers.
    """
    found = (ratio / 6).sub_(1 / 5).mul_(ratio).add_(1 / 4).mul_(ratio).sub_(1 / 3).mul_(ratio).add_(1 / 2)
    found *= ratio.square()
    is_large = ratio.abs() >= SERIES_BELOW
    large = ratio[is_large]
    if len(large) > 0:
        found[is_large] = large - torch.log1p(large)
    return found


def mixed_excess(ratio: Tensor) -> Tensor:
    """`excess` of any ε, infinite for ε ≤ −1."""
    return torch.where(ratio <= -1, torch.inf, excess(ratio))


def ratio_excess(ratio: Tensor) -> Tensor:
    """tr E − ln det(I + E) (a scalar) of a symmetric ratio E (P, P): Σ of `excess` over its eigenvalues.

    Where E is small the series tr(E²)/2 − tr(E³)/3 + tr(E⁴)/4 takes one matrix product and no eigenvalues.
    """
    if float(ratio.square().sum().sqrt()) < SERIES_BELOW:
        square = ratio @ ratio
        return ratio.square().sum() / 2 - (square * ratio).sum() / 3 + square.square().sum() / 4
    return excess(torch.linalg.eigvalsh(ratio)).sum()
