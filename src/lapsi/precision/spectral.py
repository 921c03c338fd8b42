"""Dense precision by its eigenvectors, and its change when a low-rank part and a ridge of its own leave for each unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import Comparison, Mixed, Precision, excess, mixed_excess
from lapsi.precision.full import DenseComparison


@dataclass(frozen=True, slots=True, eq=False)
class SpectralChange:
    """Λ₋ᵢ = Λ − drop_i·I − R_iR_iᵀ.

    Attributes:
        root: R_iᵀU (n, r, P) float64, U the eigenvectors of Λ.
        drop: (n,) float64, less than all eigenvalues.
    """

    root: Tensor
    drop: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class SpectralPrecision(Precision[SpectralChange]):
    """Λ = U diag(values) Uᵀ.

    Attributes:
        values: (P,) float64, positive.
        vectors: U (P, P) float64.
    """

    values: Tensor
    vectors: Tensor

    def quad(self, vectors: Tensor) -> Tensor:
        return (vectors.double() @ self.vectors).square() @ self.values

    def to_dense(self) -> Tensor:
        return (self.vectors * self.values) @ self.vectors.T

    def compare(self, shift: Tensor, change: SpectralChange) -> SpectralComparison:
        return SpectralComparison(self.values, shift.double() @ self.vectors, change)

    def compare_to(self, shift: Tensor, other: SpectralPrecision) -> DenseComparison:
        before, after = self.to_dense(), other.to_dense()
        return DenseComparison(torch.linalg.cholesky(before), shift, after - before, other.quad(shift[None]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class SpectralComparison(Comparison):
    """All in the eigenvectors: first the ridge leaves, then the low-rank part, and the product of both is added.

    Attributes:
        before: values (P,) of Λ.
        shift: Uᵀshift_i (n, P).
        change: of Λ.
    """

    before: Tensor
    shift: Tensor
    change: SpectralChange

    def quad(self) -> Tensor:
        root, middle = self.change.root, self.before - self.change.drop[:, None]
        return (middle * self.shift.square()).sum(1) - torch.einsum("nrp,np->nr", root, self.shift).square().sum(1)

    def excess(self) -> Tensor:
        root, drop = self.change.root, self.change.drop
        pulled = root / (self.before - drop[:, None])[:, None]
        removal = excess(-torch.linalg.eigvalsh(pulled @ root.mT)).sum(1)
        both = drop * (pulled * (root / self.before)).sum((1, 2))
        return removal + both + excess(-drop[:, None] / self.before).sum(1)

    def mixed(self, t: float) -> Mixed:
        """Λ_t = Λ − t·drop·I − t R Rᵀ."""
        root, drop, whole = self.change.root, self.change.drop[:, None], self.before
        middle, after = whole - t * drop, whole - drop
        pulled = root / middle[:, None]
        gram = pulled @ root.mT
        removal = mixed_excess(-t * torch.linalg.eigvalsh(gram)).sum(1)
        both = t**2 * drop[:, 0] * (pulled * (root / whole)).sum((1, 2))
        alone = mixed_excess(-t * drop / whole).sum(1)
        old = (whole * self.shift)[:, :, None]
        left = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device) - t * gram
        solved = old / middle[:, :, None] + t * pulled.mT @ torch.linalg.solve(left, pulled @ old)
        new = (after * self.shift)[:, :, None] - root.mT @ (root @ self.shift[:, :, None])
        return Mixed((new * solved).sum((1, 2)), removal + both + alone)
