"""Dense precision, and its change when a low-rank part and a ridge leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import KLTerms, Precision, excess, ratio_excess

SERIES_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class FullChange:
    """Λ₋ᵢ = Λ′ − R_iR_iᵀ with Λ′ = Λ − ridge·I; R_i (P, c) is never formed, only its products.

    Attributes:
        gram: R_iᵀ Λ′⁻¹ R_i (n, c, c), float64.
        ridge_trace: tr(R_iᵀ Λ⁻¹ Λ′⁻¹ R_i) (n,), float64; 0 where the ridge is 0.
        projection: R_iᵀ shift_i (n, c), float64.
        share: (n,) of the ridge that leaves with each.
    """

    gram: Tensor
    ridge_trace: Tensor
    projection: Tensor
    share: Tensor


@final
@dataclass(frozen=True, slots=True)
class FullPrecision(Precision[FullChange]):
    """Λ = reduced + ridge·I; build it with `full_precision`.

    Attributes:
        reduced: Λ′ (P, P), the precision after the ridge has gone.
        ridge: what every removal takes from the diagonal, ≥ 0.
        ridge_curvature: ½[tr(Λ′Λ⁻¹) − P − ln det(Λ′Λ⁻¹)], the share of the ridge alone, the same for all samples.
    """

    reduced: Tensor
    ridge: float
    ridge_curvature: float

    def quad(self, vectors: Tensor) -> Tensor:
        return self._reduced_quad(vectors) + self.ridge * vectors.double().square().sum(1)

    def to_dense(self) -> Tensor:
        if self.ridge == 0:
            return self.reduced
        return self.reduced + self.ridge * torch.eye(len(self.reduced), dtype=self.reduced.dtype, device=self.reduced.device)

    def kl_terms(self, shift: Tensor, change: FullChange) -> KLTerms:
        mean = self._reduced_quad(shift) - change.projection.square().sum(1)
        removal = excess(-torch.linalg.eigvalsh(change.gram)).sum(1) + self.ridge * change.share * change.ridge_trace
        return KLTerms(0.5 * mean, 0.5 * removal + change.share.square() * self.ridge_curvature)

    def kl_to(self, shift: Tensor, other: FullPrecision) -> KLTerms:
        before, after = self.to_dense(), other.to_dense()
        return dense_kl(torch.linalg.cholesky(before), after - before, other.quad(shift[None]))

    def _reduced_quad(self, vectors: Tensor) -> Tensor:
        vectors = vectors.to(self.reduced.dtype)
        return torch.einsum("np,np->n", vectors @ self.reduced, vectors).double()


def dense_kl(factor: Tensor, change: Tensor, quad: Tensor) -> KLTerms:
    """KL terms (1,) when Λ = L Lᵀ changes by `change` (P, P), from L and the quadratic form (1,) of the new Λ at the shift."""
    half = torch.linalg.solve_triangular(factor, change, upper=False)
    ratio = torch.linalg.solve_triangular(factor, half.T, upper=False)
    return KLTerms(0.5 * quad, 0.5 * ratio_excess((ratio + ratio.T) / 2)[None])


def full_precision(reduced: Tensor, ridge: float, inverse: Tensor) -> FullPrecision:
    """The precision Λ = reduced + ridge·I, given its `inverse` Λ⁻¹ (P, P)."""
    return FullPrecision(reduced, ridge, 0.0 if ridge == 0 else _ridge_curvature(ridge * inverse))


def _ridge_curvature(ratio: Tensor) -> float:
    """½ tr[−E − ln(1 − E)] = ½ Σ_{m≥2} tr(E^m)/m for E = ridge·Λ⁻¹, whose eigenvalues are at most 1/2."""
    power, total, order = ratio, 0.0, 2
    while True:
        term = float((power * ratio).sum()) / order
        total += term
        if term <= SERIES_TOLERANCE * total:
            return 0.5 * total
        power, order = power @ ratio, order + 1
