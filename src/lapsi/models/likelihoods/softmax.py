"""The softmax likelihood, sample by sample.

Legend of the indices: i sample, a b c class, m n contrast. Logits z (n, C), probabilities p = softmax(z).

Adding the same number to all logits changes nothing, so the likelihood lives in the C−1 **contrasts** u with z = V u,
V (C, C−1) an orthonormal basis of the vectors that sum to zero. At an optimum with weight decay the remaining
direction of the parameters is exactly 0, so working in contrasts loses nothing and saves (1 − 1/C)² of every P×P matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

TURNS_BELOW = -0.69  # m > −½ while every Δz is above ln ½
OVERFLOWS_ABOVE = 60.0


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
    """S = diag(p) − ppᵀ (n, C, C), the Hessian of the loss in the logits."""
    return torch.diag_embed(probabilities) - torch.einsum("ia,ib->iab", probabilities, probabilities)


def logit_hessian_root(probabilities: Tensor) -> Tensor:
    """F (n, C, C) with F Fᵀ = S: F = diag(√p) − p√pᵀ."""
    root = probabilities.sqrt()
    return torch.diag_embed(root) - torch.einsum("ia,ib->iab", probabilities, root)


def probability_change(
    probabilities: Tensor,
    logit_change: Tensor,
    class_axis: int = -1,
    out: Tensor | None = None,
    log_probabilities: Tensor | None = None,
) -> Tensor:
    """softmax(z + Δz) − softmax(z) in difference form (MATH §5), so that its error is relative to Δz.

    p ∘ (expm1(Δz) − m)/(1 + m), m = Σ_c p_c expm1(Δz_c). The shapes broadcast; `out`, of the shape of the result, may be Δz.
    Where Δz has one class less than p, the logits of the last class do not change, and its own change, minus the sum of the
    others', is left out. `log_probabilities` carries what p cannot hold, where Δz turns such a prediction over.
    """
    low, high = logit_change.aminmax() if logit_change.numel() > 0 else (logit_change.new_zeros(()),) * 2
    if float(low) <= TURNS_BELOW or float(high) >= OVERFLOWS_ABOVE:
        logs = probabilities.log() if log_probabilities is None else log_probabilities
        change = _large_probability_change(probabilities, logs, logit_change, class_axis)
        return change if out is None else out.copy_(change)
    probabilities = probabilities.narrow(class_axis, 0, logit_change.shape[class_axis])
    growth = torch.expm1(logit_change, out=out)
    mean_growth = (probabilities * growth).sum(class_axis, keepdim=True)
    change = torch.sub(growth, mean_growth, out=out)
    return change.mul_(mean_growth.add_(1).reciprocal_()).mul_(probabilities)


def _large_probability_change(probabilities: Tensor, logs: Tensor, logit_change: Tensor, class_axis: int) -> Tensor:
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
        change = torch.where(turned, torch.softmax(logs + relative, class_axis) - probabilities, change)
    return change.narrow(class_axis, 0, n_classes)


def variance_change(probabilities: Tensor, change: Tensor) -> Tensor:
    """Change of v = p(1 − p) when p changes by `change`: Δp (1 − 2p − Δp)."""
    return change * (1 - 2 * probabilities - change)


def logit_hessian_change(probabilities: Tensor, change: Tensor) -> Tensor:
    """Change of S when p changes by Δp: diag(Δp) − Δp pᵀ − p Δpᵀ − Δp Δpᵀ; the last axis of the inputs is the class."""
    return torch.diag_embed(change) - _symmetric(change, probabilities) - change[..., :, None] * change[..., None, :]


def probability_derivative(probabilities: Tensor, direction: Tensor) -> Tensor:
    """Derivative of p along a change of the logits: S dz = p ∘ (dz − pᵀdz)."""
    return probabilities * (direction - (probabilities * direction).sum(-1, keepdim=True))


def logit_hessian_derivative(probabilities: Tensor, derivative: Tensor) -> Tensor:
    """Derivative of S along a derivative of p: diag(ṗ) − ṗpᵀ − pṗᵀ."""
    return torch.diag_embed(derivative) - _symmetric(derivative, probabilities)


def _symmetric(left: Tensor, right: Tensor) -> Tensor:
    product = left[..., :, None] * right[..., None, :]
    return product + product.mT
