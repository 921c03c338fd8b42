"""Diagonal precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import KLTerms, Precision, excess


@final
@dataclass(frozen=True, slots=True)
class DiagPrecision(Precision[Tensor]):
    """Λ = diag(diagonal), diagonal (P,) positive; its change is Δλ (n, P)."""

    diagonal: Tensor

    def quad(self, vectors: Tensor) -> Tensor:
        return vectors.square() @ self.diagonal

    def to_dense(self) -> Tensor:
        return torch.diag(self.diagonal)

    def kl_terms(self, shift: Tensor, change: Tensor) -> KLTerms:
        mean = 0.5 * torch.einsum("np,np->n", shift.square(), change) + 0.5 * self.quad(shift)
        return KLTerms(mean, 0.5 * excess(change / self.diagonal).sum(1))

    def kl_to(self, shift: Tensor, other: DiagPrecision) -> KLTerms:
        return self.kl_terms(shift[None], (other.diagonal - self.diagonal)[None])
