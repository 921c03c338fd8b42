"""The softmax likelihood, sample by sample.

Legend of the indices: i sample, a b c class, m n contrast. Logits z (n, C), probabilities p = softmax(z).

Adding the same number to all logits changes nothing, so the likelihood lives in the C−1 **contrasts** u with z = V u,
V (C, C−1) an orthonormal basis of the vectors that sum to zero. At an optimum with weight decay the remaining
direction of the parameters is exactly 0, so working in contrasts loses nothing and saves (1 − 1/C)² of every P×P matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, same_output, weighted

TURNS_BELOW = -0.69  # m > −½ while every Δz is above ln ½
OVERFLOWS_ABOVE = 60.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Softmax(Likelihood):
    """C classes; targets are labels int64 in 0…C−1; build it with `softmax`.

    Attributes:
        basis: V (C, C−1), the contrasts; or the identity (C, C).
    """

    basis: Tensor

    @property
    def n_outputs(self) -> int:
        return len(self.basis)

    @property
    def sees_level(self) -> bool:
        return False

    def in_outputs(self) -> Softmax:
        return Softmax(torch.eye(self.n_outputs, dtype=self.basis.dtype, device=self.basis.device))

    def relative(self, weights: Tensor) -> Tensor:
        """Those of all classes but the last, relative to it."""
        return weights[..., :-1, :] - weights[..., -1:, :]

    def complete(self, change: Tensor, axis: int) -> Tensor:
        """The changes sum to 0 over the classes."""
        return torch.cat([change, -change.sum(axis, keepdim=True)], axis)

    def state(self, outputs: Tensor, axis: int = -1) -> Tensor:
        """Probabilities."""
        return torch.softmax(outputs, axis)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−ln p_y."""
        return -torch.log_softmax(outputs, -1).gather(-1, targets[..., None])[..., 0]

    def residual(self, state: Tensor, targets: Tensor) -> Tensor:
        return residual(state, targets)

    def residual_share(self, state: Tensor, targets: Tensor) -> Tensor:
        """p_y/(1 − p_y)."""
        own = targets[..., None]
        return (state.gather(-1, own) / state.scatter(-1, own, 0.0).sum(-1, keepdim=True))[..., 0]

    def variance(self, state: Tensor) -> Tensor:
        """v = p(1 − p)."""
        return state * (1 - state)

    def hessian(self, state: Tensor) -> Tensor:
        return logit_hessian(state)

    def hessian_sum(self, state: Tensor, weights: Tensor | None) -> Tensor:
        own = weighted(state, weights)
        return torch.diag(own.sum(0)) - own.T @ state

    def hessian_root(self, state: Tensor) -> Tensor:
        return logit_hessian_root(state)

    def remaining_root_times(self, state: Tensor, among: Tensor, vector: Tensor) -> Tensor:
        """√p ∘ v − p √pᵀv/Σp, of the other classes alone: what is left is to know which of them it is."""
        others = state.masked_fill(among, 0.0)
        own = others.sqrt() * vector
        share = others / others.sum(-1, keepdim=True).clamp(min=torch.finfo(state.dtype).tiny)
        return own - share * own.sum(-1, keepdim=True)

    def residual_change(
        self, state: Tensor, output_change: Tensor, axis: int = -1, out: Tensor | None = None, outputs: Tensor | None = None
    ) -> Tensor:
        return probability_change(state, output_change, axis, out, outputs)

    def variance_change(self, state: Tensor, change: Tensor) -> Tensor:
        return variance_change(state, change)

    def hessian_change(self, state: Tensor, change: Tensor) -> Tensor:
        return logit_hessian_change(state, change)

    def hessian_change_sum(self, state: Tensor, change: Tensor, weights: Tensor | None) -> Tensor:
        own = weighted(change, weights)
        half = torch.einsum("jan,jbn->nab", own, state + 0.5 * change)
        return torch.diag_embed(own.sum(0).T) - half - half.mT

    def residual_derivative(self, state: Tensor, direction: Tensor, axis: int = -1) -> Tensor:
        return probability_derivative(state, direction, axis)

    def coupling(self, state: Tensor, outputs: Tensor, place: int) -> Tensor:
        """p_a (δ_ab − p_b)."""
        return state * (same_output(outputs, place).to(state.dtype) - state[:, place : place + 1])

    def variance_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return (1 - 2 * state) * derivative

    def hessian_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return logit_hessian_derivative(state, derivative)

    def hessian_derivative_sum(self, state: Tensor, derivative: Tensor, weights: Tensor | None) -> Tensor:
        own = weighted(derivative, weights)
        half = torch.einsum("jan,jb->nab", own, state[:, :, 0])
        return torch.diag_embed(own.sum(0).T) - half - half.mT

    def combine(self, outputs: Tensor) -> Tensor:
        """Logarithms of the mean probabilities."""
        return torch.logsumexp(torch.log_softmax(outputs, -1), 0) - math.log(len(outputs))


def softmax(n_classes: int, device: torch.device) -> Softmax:
    """The softmax over C classes, its basis on `device`."""
    return Softmax(contrast_basis(n_classes).to(device))


def contrast_basis(n_classes: int) -> Tensor:
    """V (C, C−1): orthonormal columns, each summing to zero (normalised Helmert contrasts), float64."""
    size = torch.arange(1, n_classes, dtype=torch.float64)
    ones_above = torch.triu(torch.ones(n_classes, n_classes - 1, dtype=torch.float64))
    below = torch.diagflat(-size)
    raw = ones_above + torch.nn.functional.pad(below, (0, 0, 1, 0))[:, : n_classes - 1]
    return raw / torch.sqrt(size * (size + 1))


def residual(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the loss in the logits, p − e_y (…, C); the entry of the label is −Σ of the others, not p_y − 1."""
    others = probabilities.scatter(-1, labels[..., None], 0.0)
    return others.scatter(-1, labels[..., None], -others.sum(-1, keepdim=True))


def logit_hessian(probabilities: Tensor) -> Tensor:
    """S = diag(p) − ppᵀ (…, C, C), the Hessian of the loss in the logits."""
    return torch.diag_embed(probabilities) - torch.einsum("...a,...b->...ab", probabilities, probabilities)


def logit_hessian_root(probabilities: Tensor) -> Tensor:
    """F (…, C, C) with F Fᵀ = S: F = diag(√p) − p√pᵀ."""
    root = probabilities.sqrt()
    return torch.diag_embed(root) - torch.einsum("...a,...b->...ab", probabilities, root)


def probability_change(
    probabilities: Tensor,
    logit_change: Tensor,
    class_axis: int = -1,
    out: Tensor | None = None,
    logits: Tensor | None = None,
) -> Tensor:
    """softmax(z + Δz) − softmax(z) in difference form (docs/math.md, Leave-one-out): its error is relative to Δz.

    p ∘ (expm1(Δz) − m)/(1 + m), m = Σ_c p_c expm1(Δz_c). The shapes broadcast; `out`, of the shape of the result, may be Δz.
    Where Δz has one class less than p, the logits of the last class do not change, and its own change, minus the sum of the
    others', is left out. `logits` carry what p cannot hold, where Δz turns such a prediction over.
    """
    low, high = logit_change.aminmax() if logit_change.numel() > 0 else (logit_change.new_zeros(()),) * 2
    may_turn = float(low) <= TURNS_BELOW
    if float(high) >= OVERFLOWS_ABOVE:
        before = probabilities.log() if logits is None else logits
        change = _large_probability_change(probabilities, before, logit_change, class_axis)
        return change if out is None else out.copy_(change)
    given = probabilities.narrow(class_axis, 0, logit_change.shape[class_axis])
    growth = torch.expm1(logit_change, out=None if may_turn else out)
    mean_growth = (given * growth).sum(class_axis, keepdim=True)
    large = (mean_growth < -0.5) | (mean_growth > 1) if may_turn else None
    change = torch.sub(growth, mean_growth, out=growth)
    change = change.mul_(mean_growth.add_(1).reciprocal_()).mul_(given)
    if large is not None:
        _replace_large(change, large, probabilities, logits, (logit_change, class_axis))
    return change if out is None or change is out else out.copy_(change)


def _replace_large(
    change: Tensor, large: Tensor, probabilities: Tensor, logits: Tensor | None, moved: tuple[Tensor, int]
) -> None:
    """Writes `_large_probability_change` where `large` (1 along the class axis) says so; `moved` is Δz and that axis."""
    logit_change, axis = moved
    picked = large.expand(change.shape).movedim(axis, -1)[..., 0]

    def rows(values: Tensor) -> Tensor:
        shape = list(change.shape)
        shape[axis] = values.shape[axis]
        return values.expand(shape).movedim(axis, -1)[picked]

    p = rows(probabilities)
    change.movedim(axis, -1)[picked] = _large_probability_change(
        p, p.log() if logits is None else rows(logits), rows(logit_change), -1
    )


def _large_probability_change(probabilities: Tensor, logits: Tensor, logit_change: Tensor, class_axis: int) -> Tensor:
    """The same, with Δz first shifted by its largest entry so that nothing overflows.

    Where the prediction turns over (m < −½) nothing is nearly equal and the plain difference is taken.
    """
    n_classes = logit_change.shape[class_axis]
    if n_classes < probabilities.shape[class_axis]:
        unchanged = torch.zeros_like(logit_change.narrow(class_axis, 0, 1))
        logit_change = torch.cat([logit_change, unchanged], class_axis)
    relative = logit_change - logit_change.amax(class_axis, keepdim=True)
    growth = torch.expm1(relative)
    mean_growth = (probabilities * growth).sum(class_axis, keepdim=True)
    change = growth.sub_(mean_growth).mul_(probabilities / (1 + mean_growth))
    turned = mean_growth < -0.5
    if bool(turned.any()):
        change = torch.where(turned, torch.softmax(logits + relative, class_axis) - probabilities, change)
    return change.narrow(class_axis, 0, n_classes)


def variance_change(probabilities: Tensor, change: Tensor) -> Tensor:
    """Change of v = p(1 − p) when p changes by `change`: Δp (1 − 2p − Δp)."""
    return change * (1 - 2 * probabilities - change)


def logit_hessian_change(probabilities: Tensor, change: Tensor) -> Tensor:
    """Change of S when p changes by Δp: diag(Δp) − Δp pᵀ − p Δpᵀ − Δp Δpᵀ; the last axis of the inputs is the class."""
    return torch.diag_embed(change) - _symmetric(change, probabilities) - change[..., :, None] * change[..., None, :]


def probability_derivative(probabilities: Tensor, direction: Tensor, class_axis: int = -1) -> Tensor:
    """Derivative of p along a change of the logits: S dz = p ∘ (dz − pᵀdz)."""
    return probabilities * (direction - (probabilities * direction).sum(class_axis, keepdim=True))


def logit_hessian_derivative(probabilities: Tensor, derivative: Tensor) -> Tensor:
    """Derivative of S along a derivative of p: diag(ṗ) − ṗpᵀ − pṗᵀ."""
    return torch.diag_embed(derivative) - _symmetric(derivative, probabilities)


def _symmetric(left: Tensor, right: Tensor) -> Tensor:
    product = left[..., :, None] * right[..., None, :]
    return product + product.mT
