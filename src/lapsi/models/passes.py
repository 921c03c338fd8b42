"""Both passes of a model over samples, and the clipping of the gradients that they give, for many models at once.

Legend of the indices: j sample, l layer; h_l, a_l, δ_l as in `mlp`, so that the gradient of a layer is δ_l ⊗ h_l.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.models.activation import positive_part_change
from lapsi.models.likelihoods.base import Likelihood

NORM_OFFSET = 1e-6  # as in opacus, so that clipping agrees with it to the last digits


@dataclass(frozen=True, slots=True)
class ForwardBackward:
    """Forward and backward pass of one model (or, with leading axes, of several) over weighted losses.

    Attributes:
        hidden: h_l (…, n, in), one a layer.
        pre, slopes, errors: a_l, φ′(a_l) and W_{l+1}ᵀδ_{l+1} (…, n, out) of the hidden layers.
        outputs, state: z and what the likelihood makes of it (…, n, K).
        losses: (…, n), nats, times their weights.
        deltas: δ_l (…, n, out), one a layer.
        likelihood: what made the losses.
        weights: (…, n) float64, or None where each sample counts once.
    """

    hidden: tuple[Tensor, ...]
    pre: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]
    outputs: Tensor
    state: Tensor
    losses: Tensor
    deltas: tuple[Tensor, ...]
    likelihood: Likelihood
    weights: Tensor | None

    def to(self, dtype: torch.dtype, inputs: Tensor) -> ForwardBackward:
        """In another dtype, in which `inputs` are given already."""
        if dtype == self.state.dtype:
            return self
        lists = [self.hidden[1:], self.pre, self.slopes, self.errors, self.deltas]
        hidden, pre, slopes, errors, deltas = (tuple(tensor.to(dtype) for tensor in part) for part in lists)
        outputs, state = self.outputs.to(dtype), self.state.to(dtype)
        end = outputs, state, self.losses, deltas, self.likelihood, self.weights
        return ForwardBackward((inputs, *hidden), pre, slopes, errors, *end)

    def gradient_norm_squares(self) -> Tensor:
        """Squared norm of each sample's gradient (…, n)."""
        norms = [_squares(delta) * _squares(h) for delta, h in zip(self.deltas, self.hidden, strict=True)]
        return torch.stack(norms).sum(0)


@dataclass(frozen=True, slots=True)
class Clip:
    """Clipping of per-sample gradients to the norm C: they are multiplied by C/m with m = max(‖g‖ + 1e-6, C).

    Attributes:
        clip_norm: C.
        norms: ‖g_j‖ (n,) of the model with all samples.
        margins: ‖g_j‖ + 1e-6 − C (n,); positive where the gradient is clipped.
    """

    clip_norm: float
    norms: Tensor
    margins: Tensor

    @property
    def reach(self) -> Tensor:
        """m (n,)."""
        return self.margins.clamp(min=0) + self.clip_norm

    @property
    def factors(self) -> Tensor:
        """C/m (n,)."""
        return self.clip_norm / self.reach

    def to(self, dtype: torch.dtype) -> Clip:
        """In another dtype."""
        return Clip(self.clip_norm, self.norms.to(dtype), self.margins.to(dtype))


def clip_of(passes: ForwardBackward, clip_norm: float | None) -> Clip | None:
    """The clipping of the samples of both passes, where gradients are clipped at all."""
    if clip_norm is None:
        return None
    norms = passes.gradient_norm_squares().sqrt()
    return Clip(clip_norm, norms, norms + NORM_OFFSET - clip_norm)


def clip_change(
    passes: ForwardBackward, clip: Clip, delta_changes: list[Tensor], hidden_changes: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The deltas times C/m, and their change: with c′ = C/(m + Δm) it is c′Δδ − C Δm/(m(m + Δm)) δ."""
    norm_change = clip.norms.new_zeros(())
    for layer, (delta, change) in enumerate(zip(passes.deltas, delta_changes, strict=True)):
        squares, growth = _squares(passes.hidden[layer]), _square_change(delta, change)
        if layer > 0:
            hidden_growth = _square_change(passes.hidden[layer][..., :-1], hidden_changes[layer - 1])
            norm_change = norm_change + _squares(delta) * hidden_growth
            squares = squares + hidden_growth
        norm_change = norm_change + growth * squares
    tiny = torch.finfo(clip.norms.dtype).tiny
    moved = (clip.norms.square() + norm_change).clamp(min=0).sqrt()
    reach_change = positive_part_change(clip.margins, norm_change / (moved + clip.norms + tiny))
    factor = clip.clip_norm / (clip.reach + reach_change)
    factor_change = -reach_change * factor / clip.reach
    clipped = [
        factor[..., None] * change + factor_change[..., None] * delta
        for delta, change in zip(passes.deltas, delta_changes, strict=True)
    ]
    return [clip.factors[..., None] * delta for delta in passes.deltas], clipped


def _squares(rows: Tensor) -> Tensor:
    return rows.square().sum(-1)


def _square_change(rows: Tensor, change: Tensor) -> Tensor:
    """‖v + Δv‖² − ‖v‖² along the last axis."""
    return (change * (2 * rows + change)).sum(-1)
