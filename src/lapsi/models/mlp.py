"""The model with hidden layers (none: a linear one), all derivatives in closed form, for many models at once.

Legend of the indices: b model, j sample, o unit of a layer, k input of a layer. Layer l maps h_l (with a constant 1 at its
end, the bias) to a_l = W_l h_l; h_{l+1} = (φ(a_l), 1), h_0 = x, and the last a are the outputs z. `params` is (P,), all W_l
row by row, layer after layer; without hidden layers that is output-major. δ_l = ∂loss/∂a_l, so the gradient is δ_l ⊗ h_l.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul
from lapsi.models.activation import Activation
from lapsi.models.base import Model
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.passes import Clip, ForwardBackward, clip_change

CACHE_ENTRIES = 2**19


@final
@dataclass(frozen=True, slots=True)
class Mlp(Model):
    """Shapes of a model with hidden layers and its passes.

    Attributes:
        sizes: D (the constant 1 included), the units of the hidden layers, K.
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
    def n_outputs(self) -> int:
        """K."""
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

    def outputs(self, params: Tensor, inputs: Tensor) -> Tensor:
        """(…, n, K) of inputs (…, n, D) under params (…, P)."""
        return self._forward(params, inputs)[2]

    def forward_backward(
        self, params: Tensor, inputs: Tensor, targets: Tensor, likelihood: Likelihood, weights: Tensor | None = None
    ) -> ForwardBackward:
        """Both passes over samples (…, n, D) with targets and weights (…, n)."""
        hidden, pre, outputs = self._forward(params, inputs)
        state, losses = likelihood.state(outputs), likelihood.loss(outputs, targets)
        slopes = [self.activation.slope(a) for a in pre]
        deltas = [likelihood.residual(state, targets)]
        if weights is not None:
            losses, deltas = weights.to(losses.dtype) * losses, [weights.to(losses.dtype)[..., None] * deltas[0]]
        errors: list[Tensor] = []
        for matrix, slope in zip(self.layers(params)[:0:-1], slopes[::-1], strict=True):
            errors.insert(0, deltas[0] @ matrix[..., :-1])
            deltas.insert(0, slope * errors[0])
        backward = tuple(errors), outputs, state, losses, tuple(deltas), likelihood, weights
        return ForwardBackward(tuple(hidden), tuple(pre), tuple(slopes), *backward)

    def gradient(self, passes: ForwardBackward, clip: Clip | None = None) -> Tensor:
        """Σ_j of the gradients (…, P), clipped where asked."""
        deltas = passes.deltas if clip is None else [clip.factors[..., None] * delta for delta in passes.deltas]
        return self.join(delta.mT @ h for delta, h in zip(deltas, passes.hidden, strict=True))

    def gradient_change(
        self, params: Tensor, shift: Tensor, passes: ForwardBackward, clip: Clip | None = None, buffer: Tensor | None = None
    ) -> Tensor:
        """Σ_j [gradient_j(params + shift_b) − gradient_j(params)] (B, P), in difference form (docs/math.md, Retraining).

        Args:
            params: (P,), in the dtype of the shift.
            shift: (B, P).
            passes: of the samples under `params`.
            clip: clipping of the samples under `params`, where gradients are clipped.
            buffer: (≥ n·B·out of the first layer,) memory to work in; what was used before costs no page faults.
        """
        changes, last = self.layers(shift), len(self.shapes) - 1
        moved = [(weight + change)[..., :-1] for weight, change in zip(self.layers(params)[1:], changes[1:], strict=True)]
        top_change, hidden_changes, slope_changes = self._forward_change(passes, changes, moved, buffer)
        if last == 0 and clip is None:
            return self.join([passes.likelihood.complete(_shared_outer(top_change, passes.hidden[0], True), 1)])
        delta_changes = [passes.likelihood.complete(top_change, -1)]
        for layer in range(last - 1, -1, -1):
            error_change = delta_changes[0] @ moved[layer]
            error_change += _shared_product(passes.deltas[layer + 1], changes[layer + 1][..., :-1].mT, False)
            change = slope_changes[layer] * (passes.errors[layer] + error_change)
            delta_changes.insert(0, change.add_(passes.slopes[layer] * error_change))
        deltas = list(passes.deltas)
        if clip is not None:
            deltas, delta_changes = clip_change(passes, clip, delta_changes, hidden_changes)
        parts = [
            _shared_outer(change, h, layer == last)
            for layer, (change, h) in enumerate(zip(delta_changes, passes.hidden, strict=True))
        ]
        for layer in range(last):
            parts[layer + 1][..., :-1] += (deltas[layer + 1] + delta_changes[layer + 1]).mT @ hidden_changes[layer]
        return self.join(parts)

    def _forward_change(
        self, passes: ForwardBackward, changes: list[Tensor], moved: list[Tensor], buffer: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Changes of the residual as `relative` has it (B, n, F), and of φ and φ′ (B, n, out) of the hidden layers."""
        last, relative = len(changes) - 1, passes.likelihood.relative
        hidden_changes: list[Tensor] = []
        slope_changes: list[Tensor] = []
        pre_change = _shared_product(passes.hidden[0], relative(changes[0]) if last == 0 else changes[0], last == 0, buffer)
        for layer in range(last):
            hidden_change, slope_change = self.activation.change(passes.pre[layer], pre_change)
            hidden_changes.append(hidden_change)
            slope_changes.append(slope_change)
            top = layer + 1 == last
            upper, upper_change = moved[layer], changes[layer + 1]
            if top:
                upper, upper_change = relative(upper), relative(upper_change)
            pre_change = torch.matmul(hidden_change, upper.mT)
            pre_change += _shared_product(passes.hidden[layer + 1], upper_change, top)
        return _residual_change(passes, pre_change), hidden_changes, slope_changes

    def _forward(self, params: Tensor, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        hidden, pre = [inputs], []
        *inner, top = self.layers(params)
        for weights in inner:
            pre.append(hidden[-1] @ weights.mT)
            value = self.activation.value(pre[-1])
            hidden.append(torch.cat([value, value.new_ones(*value.shape[:-1], 1)], -1))
        return hidden, pre, hidden[-1] @ top.mT


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


def _residual_change(passes: ForwardBackward, output_change: Tensor) -> Tensor:
    """Of the residuals, times their weights, of both passes under B changes of the relative outputs (B, n, F).

    In memory (n, F, B), so that sums over outputs are fast, and in parts that fit the cache.
    """
    change = output_change.permute(1, 2, 0).contiguous()
    on_cpu = change.device.type == "cpu" and change.numel() > 0
    size = max(1, CACHE_ENTRIES // change[:1].numel()) if on_cpu else max(1, len(change))
    before = (values[:, :, None].split(size) for values in (passes.state, passes.outputs))
    for part, state, outputs in zip(change.split(size), *before, strict=True):
        passes.likelihood.residual_change(state, part, axis=1, out=part, outputs=outputs)
    if passes.weights is not None:
        change *= passes.weights.to(change.dtype)[:, None, None]
    return change.permute(2, 0, 1)
