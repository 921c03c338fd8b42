"""Mixtures Λ_t = Λ + t(Λ₋ᵢ − Λ) of a Kronecker-factored precision and what is left of it without a sample.

Λ = B ⊗ G + δI, Λ₋ᵢ = B′ ⊗ (G − xxᵀ) + δ′I and B′ = B + ΔB give Λ_t = M_t − t B′ ⊗ xxᵀ of rank K beside

    M_t = (B + tΔB) ⊗ G + δ_tI,    δ_t = δ + t(δ′ − δ)

With N = (I ⊗ x)ᵀ Λ⁻¹ (I ⊗ x), N_t the same of M_t and h the eigenvalues of N_t B′, X(t) = t tr E − ln det(I + tE) is that of
Λ → M_t alone, and Σ [−th − ln(1 − th)] − t tr(B′(N − N_t)).

Legend of the indices: n unit, k input direction (eigenbasis of G), a output direction (eigenbasis of B), c that of B + tΔB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.precision.base import Mixed, mixed_excess


@final
@dataclass(frozen=True)
class KronMixture:
    """Mixtures of n units at one t, everything in the eigenvectors of B and of G.

    Attributes:
        output_values, input_values, prior: b (K,), g (D,) and δ.
        output_change: ΔB (n, K, K).
        removed: x (n, D).
        prior_drop: δ − δ′.
        t: where between the two.
    """

    output_values: Tensor
    input_values: Tensor
    prior: float
    output_change: Tensor
    removed: Tensor
    prior_drop: float
    t: float

    def mixed(self, shift: Tensor, first: Tensor) -> Mixed:
        """Of shifts (n, K, D), and X (n,) of Λ → M_t alone."""
        g, t = self.input_values, self.t
        values, vectors = torch.linalg.eigh(torch.diag(self.output_values) + t * self.output_change)
        middle = values[:, :, None] * g + (self.prior - t * self.prior_drop)
        pulled = self.removed[:, None] / middle
        own = (pulled * self.removed[:, None]).sum(2)
        bent = vectors.mT @ self._new_output @ vectors
        taken = self._taken(bent, own)
        excess = first + mixed_excess(-t * taken).sum(1) - t * self._product(middle, pulled, vectors)
        odd = (middle < 0).flatten(1).any(1)
        if bool(odd.any()):
            excess = torch.where(odd, self._by_determinants(middle, taken), excess)
        return Mixed(self._quad(shift, vectors, middle, pulled, own, bent), excess)

    @property
    def _before(self) -> Tensor:
        """The eigenvalues of Λ (K, D)."""
        return torch.outer(self.output_values, self.input_values) + self.prior

    @property
    def _new_output(self) -> Tensor:
        """B′ (n, K, K)."""
        return torch.diag(self.output_values) + self.output_change

    def _taken(self, bent: Tensor, own: Tensor) -> Tensor:
        """h (n, K) of B′ (n, c, c) and the diagonal of N_t (n, c); B′ has no negative eigenvalue but by rounding."""
        values, vectors = torch.linalg.eigh(bent)
        root = vectors * values.clamp(min=0.0).sqrt()[:, None]
        return torch.linalg.eigvalsh(root.mT @ (own[:, :, None] * root))

    def _product(self, middle: Tensor, pulled: Tensor, vectors: Tensor) -> Tensor:
        """tr(B′(N − N_t)), N − N_t = (I ⊗ x)ᵀ Λ⁻¹ (M_t − Λ) M_t⁻¹ (I ⊗ x) a product of x twice and the change."""
        inverse, moved = 1 / self._before, self.removed[:, None] * pulled  # (a, k), (n, c, k)
        of_change = (self.t * self.output_change @ vectors) * (inverse @ (moved * self.input_values).mT)
        gap = of_change - self.t * self.prior_drop * vectors * (inverse @ moved.mT)
        return ((self._new_output @ vectors) * gap).sum((1, 2))

    def _by_determinants(self, middle: Tensor, taken: Tensor) -> Tensor:
        """X where M_t is not positive definite; Λ_t may be so still, as its inertia says (Haynsworth 1968).

        Then t is negative, and as many factors 1 − th are as there are negative eigenvalues of M_t.
        """
        before, t = self._before, self.t
        trace = torch.einsum("naa,k,ak->n", self.output_change, self.input_values, 1 / before)
        trace = trace - self.prior_drop * (1 / before).sum()
        own = self.removed.square() @ (1 / before).T
        trace = trace - (torch.diagonal(self._new_output, dim1=1, dim2=2) * own).sum(1)
        left = 1 - t * taken
        determinant = (middle.abs().flatten(1).log().sum(1) - before.log().sum()) + left.abs().log().sum(1)
        is_positive = (middle < 0).flatten(1).sum(1) == (left < 0).sum(1)
        return torch.where(is_positive, t * trace - determinant, torch.inf)

    def _quad(self, shift: Tensor, vectors: Tensor, middle: Tensor, pulled: Tensor, own: Tensor, bent: Tensor) -> Tensor:
        """shiftᵀ Λ₋ᵢ Λ_t⁻¹ Λ shift, Λ_t⁻¹ by Woodbury's formula."""
        old, along = self._before * shift, (shift @ self.removed[:, :, None])[:, :, 0]
        new = old + (self.output_change @ shift) * self.input_values - self.prior_drop * shift
        new = new - (self._new_output @ along[:, :, None]) * self.removed[:, None]
        solved = vectors.mT @ old / middle
        projected = (solved @ self.removed[:, :, None])[:, :, 0]
        left = torch.eye(len(self.output_values), dtype=own.dtype, device=own.device) - self.t * own[:, :, None] * bent
        reaction = torch.einsum("ncd,nd->nc", bent, torch.linalg.solve_ex(left, projected[:, :, None])[0][:, :, 0])
        solved = solved + self.t * reaction[:, :, None] * pulled
        return ((vectors.mT @ new) * solved).sum((1, 2))
