"""Change of a Kronecker-factored precision when g samples leave together, of rank g in the input factor (docs/math.md, Groups).

Λ = B ⊗ G + δI becomes Λ′ = (B + ΔB) ⊗ (G − XᵀX) + δ′I. As for one sample it goes by way of Λ₁ = B ⊗ G′ + δ′I, G′ = G − XᵀX, and
takes no eigenvalues of G′: in direction a of B, with P_a = (b_aG + δ′)⁻¹ and Cholesky's C_aC_aᵀ = I − b_a X P_a Xᵀ,

    A_a = G′(b_aG′ + δ′)⁻¹ = G P_a − δ′ Q_aᵀQ_a,    Q_a = C_a⁻¹ X P_a (g, D).

Legend of the indices: n unit, g h its samples, k input direction (eigenbasis of G), a b output direction (eigenbasis of B).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.precision.base import KLTerms, excess, joined
from lapsi.precision.kron import SMALL_CHANGES, KronPrecision, gauss

CACHE_ENTRIES = 2**18


@dataclass(frozen=True, slots=True)
class JointChange:
    """What n units change of B ⊗ G + δI.

    Attributes:
        removed: X (n, g, D).
        output_change: ΔB (n, K, K).
        prior_drop: (n,) how much the prior precision falls.
    """

    removed: Tensor
    output_change: Tensor
    prior_drop: Tensor


def joint_kl_terms(whole: KronPrecision, shift: Tensor, change: JointChange) -> KLTerms:
    """KL(N(0, Λ⁻¹) ‖ N(shift_n, Λ′_n⁻¹)) of n units; not finite where Λ₁ is not positive definite in float64.

    Goes through a few units at a time, so that the temporaries (n, K, g, D) stay in the cache.
    """
    size = max(1, CACHE_ENTRIES // (len(whole.output_values) * change.removed[0].numel()))
    parts = zip(
        shift.split(size),
        (change.removed @ whole.input_vectors).split(size),
        (whole.output_vectors.T @ change.output_change @ whole.output_vectors).split(size),
        change.prior_drop.split(size),
        strict=True,
    )
    return joined([KLTerms(_mean_term(whole, *part), _curvature_term(whole, *part[1:])) for part in parts])


def _mean_term(whole: KronPrecision, shift: Tensor, removed: Tensor, output_change: Tensor, drop: Tensor) -> Tensor:
    """½ shiftᵀΛ′shift, everything in the eigenbasis."""
    turned = whole.rotate(shift)
    before = torch.einsum("nak,ak->n", turned.square(), whole.eigenvalues) - drop * turned.square().sum((1, 2))
    outer = (turned * whole.input_values) @ turned.mT
    own = turned @ removed.mT
    own_quad = torch.einsum("nag,a,nag->n", own, whole.output_values, own) + ((output_change @ own) * own).sum((1, 2))
    return 0.5 * (before + (outer * output_change).sum((1, 2)) - own_quad)


def _curvature_term(whole: KronPrecision, removed: Tensor, output_change: Tensor, drop: Tensor) -> Tensor:
    prior = whole.prior - drop
    total = _input_step(whole, removed, torch.diagonal(output_change, dim1=1, dim2=2), drop)
    largest = whole.input_values[-1]
    scale = (largest / (whole.output_values * largest + prior[:, None])).sqrt()
    size = (output_change * scale[:, :, None] * scale[:, None, :]).square().sum((1, 2)).sqrt()
    n_points = 1 + torch.bucketize(size, size.new_tensor(SMALL_CHANGES))
    for n in n_points[size.isfinite()].unique().tolist():
        rows = (n_points == n) & size.isfinite()
        part = whole, removed[rows], output_change[rows], prior[rows]
        total[rows] += _large_output_step(*part) if n > len(SMALL_CHANGES) else _small_output_step(*part, n)
    return 0.5 * total.where(size.isfinite(), torch.nan)


def _input_step(whole: KronPrecision, removed: Tensor, growth: Tensor, drop: Tensor) -> Tensor:
    """Σ[ε − ln(1 + ε)] of Λ → Λ₁, the prior first, and tr((Λ′ − Λ₁)(Λ⁻¹ − Λ₁⁻¹)), `growth` (n, a) the diagonal of ΔB."""
    b, g, before = whole.output_values, whole.input_values, whole.eigenvalues
    prior, inputs = (whole.prior - drop)[:, None], removed[:, None]
    inverse = 1 / (before - drop[:, None, None])
    pulled = _Pulled.of(removed, b.expand(len(removed), -1), inverse)
    cross = (inputs.square() * (inverse / before)[:, :, None]).sum((2, 3))
    steps = excess(-drop[:, None, None] / before).sum((1, 2))
    steps = steps + (excess(-torch.linalg.eigvalsh(pulled.leverage)).sum(2) + drop[:, None] * b * cross).sum(1)
    bent = (pulled.rows @ inputs.mT) * ((pulled.rows / before[:, None]) @ inputs.mT)
    quad = (inputs.square() * (g * inverse / before)[:, :, None]).sum((2, 3)) - prior * bent.sum((2, 3))
    trace = (g * inverse / before).sum(2) - prior * (pulled.rows.square() / before[:, None]).sum((2, 3))
    return steps - (growth * (b * quad + drop[:, None] * trace)).sum(1)


def _small_output_step(whole: KronPrecision, removed: Tensor, output_change: Tensor, prior: Tensor, n_points: int) -> Tensor:
    """Σ[ε − ln(1 + ε)] of Λ₁ → Λ′ as ∫₀¹ (1 − t) Σ_ab ΔB_ab(t)² tr(A_aA_b) dt, as for one sample."""
    total = torch.zeros_like(prior)
    for t, weight in gauss(n_points):
        b, vectors = torch.linalg.eigh(torch.diag(whole.output_values) + t * output_change)
        inverse = 1 / (b[:, :, None] * whole.input_values + prior[:, None, None])
        ratio, pulled = inverse * whole.input_values, _Pulled.of(removed, b, inverse).rows
        one_sided = prior[:, None, None] * (pulled.square().sum(2) @ ratio.mT)
        flat = pulled.flatten(1, 2)
        between = (flat @ flat.mT).square().view(*pulled.shape[:3], *pulled.shape[1:3]).sum((2, 4))
        weights = ratio @ ratio.mT - one_sided - one_sided.mT + prior.square()[:, None, None] * between
        total += weight * ((vectors.mT @ output_change @ vectors).square() * weights).sum((1, 2))
    return total


def _large_output_step(whole: KronPrecision, removed: Tensor, output_change: Tensor, prior: Tensor) -> Tensor:
    """The same by way of the eigenvalues b + db of B + ΔB, whose db keeps its digits where ΔB is not small."""
    b, g, prior = whole.output_values, whole.input_values, prior[:, None, None]
    growth = torch.diagonal(output_change, dim1=1, dim2=2)
    new = torch.linalg.eigvalsh(torch.diag(b) + output_change)
    inverse = 1 / (b[:, None] * g + prior)
    pulled = _Pulled.of(removed, b.expand_as(new), inverse)
    after = _Pulled.of(removed, new, 1 / (new[:, :, None] * g + prior))
    fall = 2 * (_log_diagonal(after.factor) - _log_diagonal(pulled.factor))
    whole_step = excess((new - b)[:, :, None] * g * inverse).sum(2) + (growth - (new - b)) * (g * inverse).sum(2)
    return (whole_step - growth * prior[:, :, 0] * pulled.rows.square().sum((2, 3)) - fall).sum(1)


def _log_diagonal(factor: Tensor) -> Tensor:
    """Σ ln of the diagonal of triangles (…, g, g)."""
    return torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True, slots=True)
class _Pulled:
    """b_a X P_a Xᵀ (n, a, g, g), C_a of the same shape and Q_a (n, a, g, D); NaN where there is no C_a."""

    leverage: Tensor
    factor: Tensor
    rows: Tensor

    @staticmethod
    def of(removed: Tensor, b: Tensor, inverse: Tensor) -> _Pulled:
        """For X (n, g, D), b (n, a) and the diagonal (n, a, k) of P_a."""
        columns = removed[:, None] * inverse[:, :, None]
        leverage = b[:, :, None, None] * (columns @ removed[:, None].mT)
        factor, info = torch.linalg.cholesky_ex(torch.eye(removed.shape[1], dtype=b.dtype, device=b.device) - leverage)
        factor = torch.where((info == 0)[..., None, None], factor, torch.nan)
        return _Pulled(leverage, factor, torch.linalg.solve_triangular(factor, columns, upper=False))
