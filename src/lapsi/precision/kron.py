"""Kronecker-factored precision with the prior inside: Λ = B ⊗ G + δI.

Legend of the indices: n unit, k l input direction (eigenbasis of G), a b output direction (eigenbasis of B).
Parameters are (K, D), one row an output or a direction of the outputs, flattened row by row: the output factor comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from scipy.special import roots_jacobi
from torch import Tensor

from lapsi.errors import InputError
from lapsi.precision.base import Comparison, Mixed, Precision, excess, ratio_excess
from lapsi.precision.kron_mixed import KronMixture

SMALL_CHANGES = (1e-6, 1e-3, 3e-2)  # below these, 1, 2 and 3 Gauss points give the change of B to 12 digits
CACHE_ENTRIES = 2**18
NO_MIXTURE = (
    "A mixture of two kfac precisions both of whose factors differ is no Kronecker product, so they have no Rényi divergence "
    "here; use KL, or curvature 'diag' or 'full'."
)


@dataclass(frozen=True, slots=True)
class KronChange:
    """Λ₋ᵢ = (B + ΔB_i) ⊗ (G − x_ix_iᵀ) + (δ − prior_drop)·I.

    Attributes:
        removed: x_i (n, D).
        output_change: ΔB_i (n, K, K).
        prior_drop: how much the prior precision falls.
    """

    removed: Tensor
    output_change: Tensor
    prior_drop: float


@final
@dataclass(frozen=True, slots=True)
class KronPrecision(Precision[KronChange]):
    """Λ = B ⊗ G + δI through the eigendecompositions of both factors; build it with `kron_precision`.

    Attributes:
        output_factor, input_factor: B (K, K) and the summed G (D, D).
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
    def eigenvalues(self) -> Tensor:
        """Of Λ (K, D): direction a of B by direction k of G."""
        return torch.outer(self.output_values, self.input_values) + self.prior

    def rotate(self, vectors: Tensor) -> Tensor:
        """Vectors (n, P) in the eigenvectors of both factors (n, K, D)."""
        matrices = vectors.view(-1, len(self.output_values), len(self.input_values))
        return self.output_vectors.T @ matrices @ self.input_vectors

    def quad(self, vectors: Tensor) -> Tensor:
        return torch.einsum("nak,ak->n", self.rotate(vectors).square(), self.eigenvalues)

    def to_dense(self) -> Tensor:
        product = torch.kron(self.output_factor.contiguous(), self.input_factor.contiguous())
        return product + self.prior * torch.eye(len(product), dtype=product.dtype, device=product.device)

    def compare(self, shift: Tensor, change: KronChange) -> KronComparison:
        output_change = self.output_vectors.T @ change.output_change @ self.output_vectors
        return KronComparison(self, self.rotate(shift), output_change, change.removed @ self.input_vectors, change.prior_drop)

    def compare_to(self, shift: Tensor, other: KronPrecision) -> KronPair:
        return KronPair(self, shift, other)

    @property
    def units_in_cache(self) -> int:
        """How many units are taken at once, so that temporaries (n, K, K) and (n, K, D) stay in the cache."""
        return max(1, CACHE_ENTRIES // (len(self.output_values) * max(self.eigenvalues.shape)))

    def excess_of(self, output_change: Tensor, removed_sq: Tensor, prior_drop: float) -> Tensor:
        """tr E − ln det(I + E) (n,) in two steps, as in `KronPair`: Λ → Λ₁ = B ⊗ G′ + δ′I → Λ₋ᵢ, G′ = G − xxᵀ.

        `output_change` (n, K, K) and x ∘ x (n, D) in the eigenvectors; goes through a few samples at a time.
        """
        parts = zip(output_change.split(self.units_in_cache), removed_sq.split(self.units_in_cache), strict=True)
        return torch.cat([self._both_steps(*part, prior_drop) for part in parts])

    def _both_steps(self, output_change: Tensor, removed_sq: Tensor, prior_drop: float) -> Tensor:
        total = self._input_step(torch.diagonal(output_change, dim1=1, dim2=2), removed_sq, prior_drop)
        prior, largest = self.prior - prior_drop, self.input_values[-1]
        scale = (largest / (self.output_values * largest + prior)).sqrt()
        size = (output_change * scale[:, None] * scale).square().sum((1, 2)).sqrt()
        n_points = 1 + torch.bucketize(size, size.new_tensor(SMALL_CHANGES))
        for n in n_points[size.isfinite()].unique().tolist():
            rows = (n_points == n) & size.isfinite()
            part = output_change[rows], removed_sq[rows], prior
            total[rows] += self._large_output_step(*part) if n > len(SMALL_CHANGES) else self._small_output_step(*part, n)
        return total.where(size.isfinite(), torch.nan)

    def _input_step(self, growth: Tensor, removed_sq: Tensor, prior_drop: float) -> Tensor:
        """Σ[ε − ln(1 + ε)] of Λ → Λ₁, and tr((Λ₋ᵢ − Λ₁)(Λ⁻¹ − Λ₁⁻¹)), what the trace has beyond the two steps.

        For every direction a of B the prior drops first, then x leaves: b_aG + δ → b_aG + δ′ → b_aG′ + δ′. `growth` (n, K) is
        the diagonal of ΔB: the other entries do not meet Λ⁻¹ − Λ₁⁻¹.
        """
        b, g, before = self.output_values, self.input_values, self.eigenvalues
        inverse = 1 / (before - prior_drop)
        own, cross, cube = (removed_sq @ weights.T for weights in (inverse, inverse / before, inverse.square() / before))
        leverage = b * own
        pull = (self.prior - prior_drop) / (1 - leverage)
        quad = removed_sq @ (g * inverse / before).T - pull * cross * own
        trace = (g * inverse / before).sum(1) - pull * cube
        steps = excess(-prior_drop / before).sum() + (excess(-leverage) + prior_drop * b * cross).sum(1)
        return steps - (growth * (b * quad + prior_drop * trace)).sum(1)

    def _small_output_step(self, output_change: Tensor, removed_sq: Tensor, prior: float, n_points: int) -> Tensor:
        """Σ[ε − ln(1 + ε)] of Λ₁ → Λ₋ᵢ as ∫₀¹ (1 − t) tr((R(t)⁻¹(ΔB ⊗ G′))²) dt, R(t) = (B + tΔB) ⊗ G′ + δ′I.

        In the eigenbasis of B + tΔB, with A_a = G′(b_aG′ + δ′)⁻¹, the trace is Σ_ab ΔB_ab² tr(A_aA_b), a sum of what is not
        negative. That x has left G takes a matrix of rank one from A_a: u_au_aᵀδ′/(1 − h_a), u_a = (b_aG + δ′)⁻¹x.
        """
        total = output_change.new_zeros(len(output_change))
        for t, weight in gauss(n_points):
            b, vectors = torch.linalg.eigh(torch.diag(self.output_values) + t * output_change)
            inverse = (b[:, :, None] * self.input_values).add_(prior).reciprocal_()
            ratio = inverse * self.input_values
            own = inverse * removed_sq[:, None, :]
            pull = (prior / (1 - b * own.sum(2)))[:, :, None]
            between = own @ inverse.mT
            one_sided = pull * (own.mul_(inverse) @ ratio.mT)
            weights = ratio @ ratio.mT - one_sided - one_sided.mT + pull * pull.mT * between.square()
            total += weight * ((vectors.mT @ output_change @ vectors).square() * weights).sum((1, 2))
        return total

    def _large_output_step(self, output_change: Tensor, removed_sq: Tensor, prior: float) -> Tensor:
        """The same by way of the eigenvalues b + db of B + ΔB, whose db keeps its digits where ΔB is not small.

        The matrix determinant lemma on the rank-one change of G gives the determinants without the eigenvalues of G′.
        """
        b, g = self.output_values, self.input_values
        growth = torch.diagonal(output_change, dim1=1, dim2=2)
        db = torch.linalg.eigvalsh(torch.diag(b) + output_change) - b
        inverse = 1 / (torch.outer(b, g) + prior)
        new = (b + db)[:, :, None] * g + prior
        left = 1 - b * (removed_sq @ inverse.T)
        moved = left - 1 + (b + db) * torch.einsum("nk,nak->na", removed_sq, 1 / new)
        whole = excess(db[:, :, None] * g * inverse).sum(2) + (growth - db) * (g * inverse).sum(1)
        own = growth * prior / left * (removed_sq @ inverse.square().T) + torch.log1p(-moved / left)
        return (whole - own).sum(1)


@final
@dataclass(frozen=True, slots=True)
class KronComparison(Comparison):
    """n units of one sample each, in the eigenvectors of both factors.

    Attributes:
        before: Λ.
        shift: (n, K, D).
        output_change: ΔB_i (n, K, K).
        removed: x_i (n, D).
        prior_drop: how much the prior precision falls.
    """

    before: KronPrecision
    shift: Tensor
    output_change: Tensor
    removed: Tensor
    prior_drop: float

    def quad(self) -> Tensor:
        """shiftᵀ[Λ + ΔB⊗G − (B + ΔB)⊗xxᵀ − prior_drop·I]shift."""
        whole = torch.einsum("nak,ak->n", self.shift.square(), self.before.eigenvalues - self.prior_drop)
        outer = torch.einsum("nak,k,nbk->nab", self.shift, self.before.input_values, self.shift)
        own = torch.einsum("nak,nk->na", self.shift, self.removed)
        own_quad = own.square() @ self.before.output_values + torch.einsum("na,nab,nb->n", own, self.output_change, own)
        return whole + (outer * self.output_change).sum((1, 2)) - own_quad

    def excess(self) -> Tensor:
        return self.before.excess_of(self.output_change, self.removed.square(), self.prior_drop)

    def mixed(self, t: float) -> Mixed:
        """First B and the prior change, which the steps of `excess` give where x is 0; then x leaves."""
        before, size = self.before, self.before.units_in_cache
        first = before.excess_of(t * self.output_change, torch.zeros_like(self.removed), t * self.prior_drop)
        parts = zip(*(each.split(size) for each in (self.shift, self.output_change, self.removed, first)), strict=True)
        factors = before.output_values, before.input_values, before.prior
        found = [
            KronMixture(*factors, change, removed, self.prior_drop, t).mixed(shift, alone)
            for shift, change, removed, alone in parts
        ]
        return Mixed(torch.cat([each.quad for each in found]), torch.cat([each.excess for each in found]))


@final
@dataclass(frozen=True, slots=True)
class KronPair(Comparison):
    """Two precisions whose factors and priors differ in any way; one unit.

    First G and δ change, then B: Λ → Λ₁ = B ⊗ G′ + δ′I → Λ′. In the eigenbasis of B the first step is one matrix
    b_aΔG + ΔδI a direction a; in that of G′ the second is one g′_kΔB a direction k. Each step gives Σ [ε − ln(1 + ε)] over
    the eigenvalues ε of its ratio; what the trace has beyond that, tr((Λ′ − Λ₁)(Λ⁻¹ − Λ₁⁻¹)), is a product of both changes.

    Attributes:
        before, after: Λ and Λ′.
        shift: (P,).
    """

    before: KronPrecision
    shift: Tensor
    after: KronPrecision

    def quad(self) -> Tensor:
        return self.after.quad(self.shift[None])

    def excess(self) -> Tensor:
        before, after = self.before, self.after
        b, g, g_new = before.output_values, before.input_values, after.input_values
        drop = after.prior - before.prior
        input_change = before.input_vectors.T @ (after.input_factor - before.input_factor) @ before.input_vectors
        output_change = before.output_vectors.T @ (after.output_factor - before.output_factor) @ before.output_vectors
        turn = before.input_vectors.T @ after.input_vectors
        total = output_change.new_zeros(())
        for value, growth in zip(b, torch.diagonal(output_change), strict=True):
            change = value * input_change + drop * torch.eye(len(g), dtype=g.dtype, device=g.device)
            old = value * g + before.prior
            total += ratio_excess(change / old.sqrt().outer(old.sqrt()))
            new = (turn * (g_new / (value * g_new + after.prior))) @ turn.T
            total += growth * ((change / old[:, None]) * new).sum()
        scale = (torch.outer(g_new, b) + after.prior).rsqrt()
        ratios = g_new[:, None, None] * output_change * scale[:, :, None] * scale[:, None, :]
        return (total + excess(torch.linalg.eigvalsh(ratios)).sum())[None]

    def mixed(self, t: float) -> Mixed:
        raise InputError(NO_MIXTURE)


@cache
def gauss(n_points: int) -> tuple[tuple[float, float], ...]:
    """Points t and weights w with Σ w f(t) = ∫₀¹ (1 − t) f(t) dt for polynomials of degree 2n − 1."""
    points, weights = roots_jacobi(n_points, 1, 0)
    return tuple(zip(((points + 1) / 2).tolist(), (weights / 4).tolist(), strict=True))


def kron_precision(output_factor: Tensor, input_factor: Tensor, prior: float) -> KronPrecision:
    """Λ = output_factor ⊗ input_factor + prior·I from symmetric factors (K, K) and (D, D), float64."""
    output_values, output_vectors = torch.linalg.eigh(output_factor)
    input_values, input_vectors = torch.linalg.eigh(input_factor)
    return KronPrecision(output_factor, input_factor, output_values, output_vectors, input_values, input_vectors, prior)
