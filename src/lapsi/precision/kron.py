"""Kronecker-factored precision with the prior inside: Λ = B ⊗ G + δI.

Legend of the indices: n sample, k l input direction (eigenbasis of G), a b output direction (eigenbasis of B).
Parameters are W (C, D) flattened output-major, so the output factor comes first in the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import KLTerms, Precision, excess, ratio_excess


@dataclass(frozen=True, slots=True)
class KronChange:
    """Λ₋ᵢ = (B + ΔB_i) ⊗ (G − x_ix_iᵀ) + (δ − prior_drop)·I.

    Attributes:
        removed: x_i (n, D).
        output_change: ΔB_i (n, C, C).
        prior_drop: how much the prior precision falls.
    """

    removed: Tensor
    output_change: Tensor
    prior_drop: float


@final
@dataclass(frozen=True, slots=True)
class KronPrecision(Precision):
    """Λ = B ⊗ G + δI through the eigendecompositions of both factors; build it with `kron_precision`.

    Attributes:
        output_factor, input_factor: B (C, C) and the summed G (D, D).
        output_values, output_vectors, input_values, input_vectors: their eigendecompositions.
        prior: δ.
    """

    output_factor: Tensor
    input_factor: Tensor
    output_values: Tensor
    output_vectors: Tensor
    input_values: Tensor
    input_vectors: Tensor
    prior: float

    @property
    def _eigenvalues(self) -> Tensor:
        return torch.outer(self.output_values, self.input_values) + self.prior

    def _rotate(self, vectors: Tensor) -> Tensor:
        matrices = vectors.view(-1, len(self.output_values), len(self.input_values))
        return self.output_vectors.T @ matrices @ self.input_vectors

    def quad(self, vectors: Tensor) -> Tensor:
        return torch.einsum("nak,ak->n", self._rotate(vectors).square(), self._eigenvalues)

    def solve(self, vectors: Tensor) -> Tensor:
        solved = self.output_vectors @ (self._rotate(vectors) / self._eigenvalues) @ self.input_vectors.T
        return solved.flatten(1)

    def logdet(self) -> Tensor:
        return self._eigenvalues.log().sum()

    def to_dense(self) -> Tensor:
        product = torch.kron(self.output_factor.contiguous(), self.input_factor.contiguous())
        return product + self.prior * torch.eye(len(product), dtype=product.dtype, device=product.device)

    def kl_terms(self, shift: Tensor, change: object) -> KLTerms:
        assert isinstance(change, KronChange)
        output_change = self.output_vectors.T @ change.output_change @ self.output_vectors
        removed = change.removed @ self.input_vectors
        mean = self._mean_term(self._rotate(shift), output_change, removed, change.prior_drop)
        return KLTerms(mean, self._curvature_term(output_change, removed.square(), change.prior_drop))

    def kl_to(self, shift: Tensor, other: KronPrecision) -> KLTerms:
        """As the base class says; both factors and the prior of `other` may differ in any way.

        First G and δ change, then B: Λ → Λ₁ = B ⊗ G′ + δ′I → Λ′. In the eigenbasis of B the first step is one matrix
        b_aΔG + ΔδI a direction a; in that of G′ the second is one g′_kΔB a direction k. Each step gives Σ [ε − ln(1 + ε)] over
        the eigenvalues ε of its ratio; what the trace has beyond that, tr((Λ′ − Λ₁)(Λ⁻¹ − Λ₁⁻¹)), is a product of both changes.
        """
        b, g, g_new = self.output_values, self.input_values, other.input_values
        drop = other.prior - self.prior
        input_change = self.input_vectors.T @ (other.input_factor - self.input_factor) @ self.input_vectors
        output_change = self.output_vectors.T @ (other.output_factor - self.output_factor) @ self.output_vectors
        turn = self.input_vectors.T @ other.input_vectors
        total = output_change.new_zeros(())
        for value, growth in zip(b, torch.diagonal(output_change), strict=True):
            change = value * input_change + drop * torch.eye(len(g), dtype=g.dtype, device=g.device)
            before = value * g + self.prior
            total += ratio_excess(change / before.sqrt().outer(before.sqrt()))
            after = (turn * (g_new / (value * g_new + other.prior))) @ turn.T
            total += growth * ((change / before[:, None]) * after).sum()
        scale = (torch.outer(g_new, b) + other.prior).rsqrt()
        ratios = g_new[:, None, None] * output_change * scale[:, :, None] * scale[:, None, :]
        total += excess(torch.linalg.eigvalsh(ratios)).sum()
        return KLTerms(0.5 * other.quad(shift[None]), 0.5 * total[None])

    def _mean_term(self, shift: Tensor, output_change: Tensor, removed: Tensor, prior_drop: float) -> Tensor:
        """½ shiftᵀ[Λ + ΔB⊗G − (B + ΔB)⊗xxᵀ − prior_drop·I]shift, everything in the eigenbasis."""
        whole = torch.einsum("nak,ak->n", shift.square(), self._eigenvalues - prior_drop)
        outer = torch.einsum("nak,k,nbk->nab", shift, self.input_values, shift)
        own = torch.einsum("nak,nk->na", shift, removed)
        own_quad = own.square() @ self.output_values + torch.einsum("na,nab,nb->n", own, output_change, own)
        return 0.5 * (whole + (outer * output_change).sum((1, 2)) - own_quad)

    def _curvature_term(self, output_change: Tensor, removed_sq: Tensor, prior_drop: float) -> Tensor:
        """½[tr(Λ₋ᵢΛ⁻¹) − P − ln det(Λ₋ᵢΛ⁻¹)] in difference form.

        With b′ = b + db the eigenvalues of B + ΔB, β the diagonal of ΔB in the eigenbasis of B and λ = b·g + δ, the
        matrix determinant lemma on the rank-one change of G gives the determinant without the eigenvalues of G − xxᵀ:
        ln det Λ₋ᵢ = Σ_ak ln(b′_a g_k + δ′) + Σ_a ln(1 − h_a), h_a = b′_a Σ_k x_k²/(b′_a g_k + δ′).
        Trace and determinant are then combined term by term, so that no two nearly equal sums are subtracted.
        """
        b, g, lam = self.output_values, self.input_values, self._eigenvalues
        beta = torch.diagonal(output_change, dim1=1, dim2=2)
        db = torch.linalg.eigvalsh(torch.diag(b) + output_change) - b
        new = (b + db)[:, :, None] * g + (self.prior - prior_drop)
        kept = excess((db[:, :, None] * g - prior_drop) / lam).sum((1, 2)) + (beta - db) @ (g / lam).sum(1)
        leverage = (b + db) * torch.einsum("nk,nak->na", removed_sq, 1 / new)
        numerator = (db * self.prior + b * prior_drop)[:, :, None] - beta[:, :, None] * new
        leverage_gap = torch.einsum("nk,nak->na", removed_sq, numerator / (new * lam))
        return 0.5 * (kept + (leverage_gap + excess(-leverage)).sum(1))


def kron_precision(output_factor: Tensor, input_factor: Tensor, prior: float) -> KronPrecision:
    """Λ = output_factor ⊗ input_factor + prior·I from symmetric factors (C, C) and (D, D), float64."""
    output_values, output_vectors = torch.linalg.eigh(output_factor)
    input_values, input_vectors = torch.linalg.eigh(input_factor)
    return KronPrecision(output_factor, input_factor, output_values, output_vectors, input_values, input_vectors, prior)
