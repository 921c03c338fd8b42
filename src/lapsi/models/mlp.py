"""The softmax probe with hidden layers (none: the linear probe), all derivatives in closed form, for many models at once.

Legend of the indices: b model, j sample, o unit of a layer, k input of a layer. Layer l maps h_l (with a constant 1 at its
end, the bias) to a_l = W_l h_l; h_{l+1} = (φ(a_l), 1), h_0 = x, and the last a are the logits. `params` is (P,), all W_l
row by row, layer after layer; for the linear probe that is class-major. δ_l = ∂loss/∂a_l, so the gradient is δ_l ⊗ h_l.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul
from lapsi.models.activation import Activation, positive_part_change
from lapsi.models.likelihoods.softmax import probability_change, residual

CACHE_ENTRIES = 2**19
NORM_OFFSET = 1e-6  # as in opacus, so that clipping agrees with it to the last digits


@dataclass(frozen=True, slots=True)
class Trace:
    """Forward and backward pass of one model (or, with leading axes, of several).

    Attributes:
        hidden: h_l (…, n, in), one a layer.
        pre, slopes, errors: a_l, φ′(a_l) and W_{l+1}ᵀδ_{l+1} (…, n, out) of the hidden layers.
        log_probabilities, probabilities: (…, n, C).
        losses: (…, n), nats.
        deltas: δ_l (…, n, out), one a layer.
    """

    hidden: tuple[Tensor, ...]
    pre: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]
    log_probabilities: Tensor
    probabilities: Tensor
    losses: Tensor
    deltas: tuple[Tensor, ...]

    def to(self, dtype: torch.dtype, inputs: Tensor) -> Trace:
        """In another dtype, in which `inputs` are given already."""
        if dtype == self.probabilities.dtype:
            return self
        lists = [self.hidden[1:], self.pre, self.slopes, self.errors, self.deltas]
        hidden, pre, slopes, errors, deltas = (tuple(tensor.to(dtype) for tensor in part) for part in lists)
        logs, probabilities = self.log_probabilities.to(dtype), self.probabilities.to(dtype)
        return Trace((inputs, *hidden), pre, slopes, errors, logs, probabilities, self.losses, deltas)

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


def clip_of(trace: Trace, clip_norm: float | None) -> Clip | None:
    """The clipping of the samples of a trace, where gradients are clipped at all."""
    if clip_norm is None:
        return None
    norms = trace.gradient_norm_squares().sqrt()
    return Clip(clip_norm, norms, norms + NORM_OFFSET - clip_norm)


@dataclass(frozen=True, slots=True)
class MlpProbe:
    """Shapes of a probe with hidden layers and its passes.

    Attributes:
        sizes: D (the constant 1 included), the units of the hidden layers, C.
        activation: φ.
    """

    sizes: tuple[int, ...]
    activation: Activation

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(out, in) of the weights of every layer, the bias column included."""
        inputs = (self.sizes[0], *(size + 1 for size in self.sizes[1:-1]))
        return tuple(zip(self.sizes[1:], inputs, strict=True))

    @property
    def n_params(self) -> int:
        """P."""
        return sum(map(prod, self.shapes))

    @property
    def n_classes(self) -> int:
        """C."""
        return self.sizes[-1]

    def layers(self, params: Tensor) -> list[Tensor]:
        """Views W_l (…, out, in) of params (…, P)."""
        parts = params.split([prod(shape) for shape in self.shapes], -1)
        return [part.view(*part.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Iterable[Tensor]) -> Tensor:
        """The inverse of `layers`: (…, P) from one (…, out, in) a layer."""
        return torch.cat([part.flatten(-2) for part in parts], -1)

    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 as torch.nn.Linear draws them after torch.manual_seed(seed): uniform in ±1/√fan-in."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for out, width in self.shapes:
            weight, bias = (torch.empty(shape, dtype=torch.float32, device="cpu") for shape in ((out, width - 1), (out,)))
            torch.nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
            bound = (width - 1) ** -0.5
            bias.uniform_(-bound, bound, generator=generator)
            parts.append(torch.cat([weight, bias[:, None]], 1).flatten())
        return torch.cat(parts).double()

    def logits(self, params: Tensor, inputs: Tensor) -> Tensor:
        """(…, n, C) of inputs (…, n, D) under params (…, P)."""
        return self._forward(params, inputs)[2]

    def trace(self, params: Tensor, inputs: Tensor, labels: Tensor) -> Trace:
        """Both passes over samples (…, n, D) with labels (…, n)."""
        hidden, pre, logits = self._forward(params, inputs)
        log_probabilities = torch.log_softmax(logits, -1)
        probabilities = log_probabilities.exp()
        losses = -log_probabilities.gather(-1, labels[..., None])[..., 0]
        slopes = [self.activation.slope(a) for a in pre]
        deltas = [residual(probabilities, labels)]
        errors: list[Tensor] = []
        for weights, slope in zip(self.layers(params)[:0:-1], slopes[::-1], strict=True):
            errors.insert(0, deltas[0] @ weights[..., :-1])
            deltas.insert(0, slope * errors[0])
        backward = tuple(errors), log_probabilities, probabilities, losses, tuple(deltas)
        return Trace(tuple(hidden), tuple(pre), tuple(slopes), *backward)

    def gradient(self, trace: Trace, clip: Clip | None = None) -> Tensor:
        """Σ_j of the gradients (…, P), clipped where asked."""
        deltas = trace.deltas if clip is None else [clip.factors[..., None] * delta for delta in trace.deltas]
        return self.join(delta.mT @ h for delta, h in zip(deltas, trace.hidden, strict=True))

    def gradient_change(
        self, params: Tensor, shift: Tensor, trace: Trace, clip: Clip | None = None, buffer: Tensor | None = None
    ) -> Tensor:
        """Σ_j [gradient_j(params + shift_b) − gradient_j(params)] (B, P), in difference form (MATH §5).

        Args:
            params: (P,), in the dtype of the shift.
            shift: (B, P).
            trace: of the samples under `params`.
            clip: clipping of the samples under `params`, where gradients are clipped.
            buffer: (≥ n·B·out of the first layer,) memory to work in; what was used before costs no page faults.
        """
        changes, last = self.layers(shift), len(self.shapes) - 1
        moved = [(weight + change)[..., :-1] for weight, change in zip(self.layers(params)[1:], changes[1:], strict=True)]
        top_change, hidden_changes, slope_changes = self._forward_change(trace, changes, moved, buffer)
        if last == 0 and clip is None:
            return self.join([_with_last(_shared_outer(top_change, trace.hidden[0], True), 1)])
        delta_changes = [_with_last(top_change, -1)]
        for layer in range(last - 1, -1, -1):
            error_change = delta_changes[0] @ moved[layer]
            error_change += _shared_product(trace.deltas[layer + 1], changes[layer + 1][..., :-1].mT, False)
            change = slope_changes[layer] * (trace.errors[layer] + error_change)
            delta_changes.insert(0, change.add_(trace.slopes[layer] * error_change))
        deltas = list(trace.deltas)
        if clip is not None:
            deltas, delta_changes = _clip_change(trace, clip, delta_changes, hidden_changes)
        parts = [
            _shared_outer(change, h, layer == last)
            for layer, (change, h) in enumerate(zip(delta_changes, trace.hidden, strict=True))
        ]
        for layer in range(last):
            parts[layer + 1][..., :-1] += (deltas[layer + 1] + delta_changes[layer + 1]).mT @ hidden_changes[layer]
        return self.join(parts)

    def _forward_change(
        self, trace: Trace, changes: list[Tensor], moved: list[Tensor], buffer: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Changes of the probabilities but the last (B, n, C−1), and of φ and φ′ (B, n, out) of the hidden layers."""
        last = len(changes) - 1
        hidden_changes: list[Tensor] = []
        slope_changes: list[Tensor] = []
        pre_change = _shared_product(trace.hidden[0], _contrast(changes[0], last == 0), last == 0, buffer)
        for layer in range(last):
            hidden_change, slope_change = self.activation.change(trace.pre[layer], pre_change)
            hidden_changes.append(hidden_change)
            slope_changes.append(slope_change)
            top = layer + 1 == last
            pre_change = torch.matmul(hidden_change, _contrast(moved[layer], top).mT)
            pre_change += _shared_product(trace.hidden[layer + 1], _contrast(changes[layer + 1], top), top)
        return _probability_change(trace, pre_change), hidden_changes, slope_changes

    def _forward(self, params: Tensor, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        hidden, pre = [inputs], []
        *inner, top = self.layers(params)
        for weights in inner:
            pre.append(hidden[-1] @ weights.mT)
            value = self.activation.value(pre[-1])
            hidden.append(torch.cat([value, value.new_ones(*value.shape[:-1], 1)], -1))
        return hidden, pre, hidden[-1] @ top.mT


def _clip_change(
    trace: Trace, clip: Clip, delta_changes: list[Tensor], hidden_changes: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The deltas times C/m, and their change: with c′ = C/(m + Δm) it is c′Δδ − C Δm/(m(m + Δm)) δ."""
    norm_change: Tensor | float = 0.0
    for layer, (delta, change) in enumerate(zip(trace.deltas, delta_changes, strict=True)):
        squares, growth = _squares(trace.hidden[layer]), _square_change(delta, change)
        if layer > 0:
            hidden_growth = _square_change(trace.hidden[layer][..., :-1], hidden_changes[layer - 1])
            norm_change = norm_change + _squares(delta) * hidden_growth
            squares = squares + hidden_growth
        norm_change = norm_change + growth * squares
    assert isinstance(norm_change, Tensor)
    tiny = torch.finfo(clip.norms.dtype).tiny
    moved = (clip.norms.square() + norm_change).clamp(min=0).sqrt()
    reach_change = positive_part_change(clip.margins, norm_change / (moved + clip.norms + tiny))
    factor = clip.clip_norm / (clip.reach + reach_change)
    factor_change = -reach_change * factor / clip.reach
    clipped = [
        factor[..., None] * change + factor_change[..., None] * delta
        for delta, change in zip(trace.deltas, delta_changes, strict=True)
    ]
    return [clip.factors[..., None] * delta for delta in trace.deltas], clipped


def _contrast(weights: Tensor, top: bool) -> Tensor:
    """Weights (…, C, in) of the top layer relative to those of the last class, (…, C−1, in); the softmax sees no more."""
    return weights[..., :-1, :] - weights[..., -1:, :] if top else weights


def _with_last(change: Tensor, axis: int) -> Tensor:
    """The change for the last class, minus the sum of the others', put beside them."""
    return torch.cat([change, -change.sum(axis, keepdim=True)], axis)


def _shared_product(inputs: Tensor, weights: Tensor, unit_major: bool, buffer: Tensor | None = None) -> Tensor:
    """weights_b inputs_j for all models at once, (B, n, out), from inputs (n, in) and weights (B, out, in).

    One matrix product (n, in) × (in, B·out). In memory the models come last (`unit_major`: sums over units are fast) or
    the units do (products with a matrix a model are).
    """
    n_models, out, width = weights.shape
    flat = (weights.transpose(0, 1) if unit_major else weights).reshape(-1, width)
    into = None if buffer is None else buffer[: len(inputs) * len(flat)].view(len(inputs), -1)
    product = matmul(inputs, flat.T, out=into)
    if unit_major:
        return product.view(-1, out, n_models).permute(2, 0, 1)
    return product.view(-1, n_models, out).transpose(0, 1)


def _shared_outer(deltas: Tensor, inputs: Tensor, unit_major: bool) -> Tensor:
    """Σ_j delta_bj ⊗ input_j (B, out, in) for deltas (B, n, out) laid out as `_shared_product` does."""
    n_models, _, out = deltas.shape
    if unit_major:
        return matmul(deltas.permute(1, 2, 0).flatten(1).T, inputs).view(out, n_models, -1).transpose(0, 1)
    return matmul(deltas.transpose(0, 1).flatten(1).T, inputs).view(n_models, out, -1)


def _probability_change(trace: Trace, logit_change: Tensor) -> Tensor:
    """Of the probabilities of a trace under B changes of the logits relative to the last class (B, n, C−1).

    In memory (n, C−1, B), so that sums over classes are fast, and in parts that fit the cache.
    """
    change = logit_change.permute(1, 2, 0).contiguous()
    on_cpu = change.device.type == "cpu" and change.numel() > 0
    size = max(1, CACHE_ENTRIES // change[:1].numel()) if on_cpu else max(1, len(change))
    before = (values[:, :, None].split(size) for values in (trace.probabilities, trace.log_probabilities))
    for part, probabilities, logs in zip(change.split(size), *before, strict=True):
        probability_change(probabilities, part, class_axis=1, out=part, log_probabilities=logs)
    return change.permute(2, 0, 1)


def _squares(rows: Tensor) -> Tensor:
    return rows.square().sum(-1)


def _square_change(rows: Tensor, change: Tensor) -> Tensor:
    """‖v + Δv‖² − ‖v‖² along the last axis."""
    return (change * (2 * rows + change)).sum(-1)
