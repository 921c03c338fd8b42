"""Diagonal precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import Comparison, Mixed, Precision, excess, mixed_excess


@final
@dataclass(frozen=True, slots=True)
class DiagPrecision(Precision[Tensor]):
    """Λ = diag(diagonal), diagonal (P,) positive; its change is Δλ (n, P)."""

    diagonal: Tensor

    def quad(self, vectors: Tensor) -> Tensor:
        return vectors.square() @ self.diagonal

    def to_dense(self) -> Tensor:
        return torch.diag(self.diagonal)

    def compare(self, shift: Tensor, change: Tensor) -> DiagComparison:
        return DiagComparison(self, shift, change)

    def compare_to(self, shift: Tensor, other: DiagPrecision) -> DiagComparison:
        return DiagComparison(self, shift[None], (other.diagonal - self.diagonal)[None])


@final
@dataclass(frozen=True, slots=True)
class DiagComparison(Comparison):
    """Everything parameter by parameter.

    Attributes:
        before: Λ.
        shift, change: (n, P).
    """

    before: DiagPrecision
    shift: Tensor
    change: Tensor

    def quad(self) -> Tensor:
        return torch.einsum("np,np->n", self.shift.square(), self.change) + self.before.quad(self.shift)

    def excess(self) -> Tensor:
        return excess(self.change / self.before.diagonal).sum(1)

    def mixed(self, t: float) -> Mixed:
        ratio = self.change / self.before.diagonal
        quad = self.shift.square() * (self.before.diagonal + self.change) / (1 + t * ratio)
        return Mixed(quad.sum(1), mixed_excess(t * ratio).sum(1))
