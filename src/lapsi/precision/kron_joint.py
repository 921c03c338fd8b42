"""Change of a Kronecker-factored precision when g samples leave together, of rank g in the input factor (docs/math.md, Groups).

Λ = B ⊗ G + δI becomes Λ′ = (B + ΔB) ⊗ (G − XᵀX) + δ′I. As for one sample it goes by way of Λ₁ = B ⊗ G′ + δ′I, G′ = G − XᵀX, and
takes no eigenvalues of G′: in direction a of B, with P_a = (b_aG + δ′)⁻¹ and Cholesky's C_aC_aᵀ = I − b_a X P_a Xᵀ,

    A_a = G′(b_aG′ + δ′)⁻¹ = G P_a − δ′ Q_aᵀQ_a,    Q_a = C_a⁻¹ X P_a (g, D).

Legend of the indices: n unit, g h its samples, k input direction (eigenbasis of G), a b output direction (eigenbasis of B).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.errors import InputError
from lapsi.precision.base import Comparison, Mixed, excess
from lapsi.precision.kron import NO_MIXTURE, SMALL_CHANGES, KronPrecision, gauss

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


@final
@dataclass(frozen=True, slots=True)
class JointComparison(Comparison):
    """n units that leave B ⊗ G + δI; not finite where Λ₁ is not positive definite in float64.

    Goes through a few units at a time, so that the temporaries (n, K, g, D) stay in the cache.

    Attributes:
        before: Λ.
        shift: (n, P).
        change: of Λ.
    """

    before: KronPrecision
    shift: Tensor
    change: JointChange

    def quad(self) -> Tensor:
        shifts = self.shift.split(self._size)
        return torch.cat([_new_quad(self.before, shift, *part) for shift, part in zip(shifts, self._parts(), strict=True)])

    def excess(self) -> Tensor:
        return torch.cat([_excess(self.before, *part) for part in self._parts()])

    def mixed(self, t: float) -> Mixed:
        raise InputError(NO_MIXTURE)

    @property
    def _size(self) -> int:
        return max(1, CACHE_ENTRIES // (len(self.before.output_values) * self.change.removed[0].numel()))

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """X and ΔB in the eigenvectors, and the drop of the prior, of some units at a time."""
        before, change = self.before, self.change
        turned = before.output_vectors.T @ change.output_change @ before.output_vectors
        parts = ((change.removed @ before.input_vectors), turned, change.prior_drop)
        return zip(*(part.split(self._size) for part in parts), strict=True)


def _new_quad(whole: KronPrecision, shift: Tensor, removed: Tensor, output_change: Tensor, drop: Tensor) -> Tensor:
    """shiftᵀΛ′shift, everything in the eigenbasis."""
    turned = whole.rotate(shift)
    before = torch.einsum("nak,ak->n", turned.square(), whole.eigenvalues) - drop * turned.square().sum((1, 2))
    outer = (turned * whole.input_values) @ turned.mT
    own = turned @ removed.mT
    own_quad = torch.einsum("nag,a,nag->n", own, whole.output_values, own) + ((output_change @ own) * own).sum((1, 2))
    return before + (outer * output_change).sum((1, 2)) - own_quad


def _excess(whole: KronPrecision, removed: Tensor, output_change: Tensor, drop: Tensor) -> Tensor:
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
    return total.where(size.isfinite(), torch.nan)


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
