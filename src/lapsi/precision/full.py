"""Dense precision, and its change when a low-rank part and a ridge leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import Comparison, Mixed, Precision, excess, mixed_excess, ratio_excess

SERIES_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class FullChange:
    """Λ₋ᵢ = Λ′ − R_iR_iᵀ with Λ′ = Λ − ridge·I; R_i (P, c) is never formed, only its products.

    Attributes:
        gram: R_iᵀ Λ′⁻¹ R_i (n, c, c), float64.
        ridge_trace: tr(R_iᵀ Λ⁻¹ Λ′⁻¹ R_i) (n,), float64; 0 where the ridge is 0.
        projection: R_iᵀ shift_i (n, c), float64.
        share: (n,) of the ridge that leaves with each.
        turned: R_iᵀM (n, c, P) float64 of a matrix M (P, P).
    """

    gram: Tensor
    ridge_trace: Tensor
    projection: Tensor
    share: Tensor
    turned: Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
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

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (P,) and eigenvectors (P, P) of Λ′, float64; taken once, where a mixture asks for them."""
        values, vectors = torch.linalg.eigh(self.reduced.double())
        return values, vectors

    def quad(self, vectors: Tensor) -> Tensor:
        return self.reduced_quad(vectors) + self.ridge * vectors.double().square().sum(1)

    def to_dense(self) -> Tensor:
        if self.ridge == 0:
            return self.reduced
        return self.reduced + self.ridge * torch.eye(len(self.reduced), dtype=self.reduced.dtype, device=self.reduced.device)

    def compare(self, shift: Tensor, change: FullChange) -> FullComparison:
        return FullComparison(self, shift, change)

    def compare_to(self, shift: Tensor, other: FullPrecision) -> DenseComparison:
        before, after = self.to_dense(), other.to_dense()
        return DenseComparison(torch.linalg.cholesky(before), shift, after - before, other.quad(shift[None]))

    def reduced_quad(self, vectors: Tensor) -> Tensor:
        """vᵀΛ′v for the rows of `vectors` (n, P)."""
        vectors = vectors.to(self.reduced.dtype)
        return torch.einsum("np,np->n", vectors @ self.reduced, vectors).double()


@final
@dataclass(frozen=True, slots=True)
class FullComparison(Comparison):
    """A low-rank part and a ridge that leave Λ; mixtures are taken in the eigenvectors of Λ′.

    Attributes:
        before: Λ.
        shift: (n, P).
        change: of Λ.
    """

    before: FullPrecision
    shift: Tensor
    change: FullChange

    def quad(self) -> Tensor:
        return self.before.reduced_quad(self.shift) - self.change.projection.square().sum(1)

    def excess(self) -> Tensor:
        change, ridge = self.change, self.before.ridge
        removal = excess(-torch.linalg.eigvalsh(change.gram)).sum(1) + ridge * change.share * change.ridge_trace
        return removal + 2 * change.share.square() * self.before.ridge_curvature

    def mixed(self, t: float) -> Mixed:
        """Λ_t = M − t R Rᵀ, M = Λ − t·ridge·I: first the ridge, then the low-rank part, and the product of both."""
        (reduced, vectors), ridge, share = self.before.spectrum, self.before.ridge, self.change.share
        whole, middle = reduced + ridge, reduced + (1 - t) * ridge
        root, shift = self.change.turned(vectors), self.shift.double() @ vectors
        pulled = root / middle
        gram = pulled @ root.mT
        removal = mixed_excess(-t * torch.linalg.eigvalsh(gram)).sum(1)
        both = t**2 * ridge * share * (pulled * root / whole).sum((1, 2))
        alone = share.square() * excess(-t * ridge / whole).sum()
        old = (whole * shift)[:, :, None]
        left = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device) - t * gram
        solved = old / middle[:, None] + t * pulled.mT @ torch.linalg.solve(left, pulled @ old)
        new = (reduced * shift)[:, :, None] - root.mT @ (root @ shift[:, :, None])
        return Mixed((new * solved).sum((1, 2)), removal + both + alone)


@final
@dataclass(frozen=True)
class DenseComparison(Comparison):
    """One unit, every matrix formed.

    Attributes:
        factor: L, Λ = L Lᵀ (P, P).
        shift: (P,).
        change: of Λ (P, P).
        new_quad: shiftᵀ Λ₋ᵢ shift (1,).
    """

    factor: Tensor
    shift: Tensor
    change: Tensor
    new_quad: Tensor

    @cached_property
    def ratio(self) -> Tensor:
        """L⁻¹ (Λ₋ᵢ − Λ) L⁻ᵀ, which has the eigenvalues of E."""
        half = torch.linalg.solve_triangular(self.factor, self.change, upper=False)
        ratio = torch.linalg.solve_triangular(self.factor, half.T, upper=False)
        return (ratio + ratio.T) / 2

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues ε (P,) of the ratio, and the squares (P,) of the shift in its eigenvectors."""
        values, vectors = torch.linalg.eigh(self.ratio)
        return values, (vectors.T @ (self.factor.T @ self.shift)).square()

    def quad(self) -> Tensor:
        return self.new_quad

    def excess(self) -> Tensor:
        return ratio_excess(self.ratio)[None]

    def mixed(self, t: float) -> Mixed:
        values, squares = self.spectrum
        quad = (squares * (1 + values) / (1 + t * values)).sum()
        return Mixed(quad[None], mixed_excess(t * values).sum()[None])


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
