"""Whether the layers see all that their parameters do, sample by sample: their gradients are then those of torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lapsi.data.batches import Batches
from lapsi.errors import InputError
from lapsi.models.module.capture import pass_through
from lapsi.models.module.layers import Layer, gradient

NEAR = 1e-2  # of the gradient of a layer: by how much the two may differ
ROUNDINGS = 16.0  # and of what is summed for it
LOOKED_AT = 4  # samples, together in a batch
SEED = 0


def require_all_uses(module: nn.Module, layers: Sequence[Layer], batches: Batches) -> None:
    """Refuses parameters that act elsewhere than in the call of their layer, or there in other places than the samples stand.

    A batch of some samples is looked at, and the gradient of each by the layers compared with that of torch.

    Raises:
        InputError: that names the layer.
    """
    rows = batches.spread(LOOKED_AT)
    given = batches.take(rows)
    passed = pass_through(module, layers, len(rows), given)
    direction = torch.randn(passed.outputs.shape, generator=torch.Generator().manual_seed(SEED)).to(passed.outputs)
    eps, known = torch.finfo(passed.outputs.dtype).eps, list(zip(passed.inputs(), passed.deltas(direction), strict=True))
    for place in range(len(rows)):
        alone = torch.zeros_like(direction)
        alone[place] = direction[place]
        for layer, (inputs, back), wanted in zip(layers, known, _by_torch(layers, passed.outputs, alone), strict=True):
            here, pulled = inputs[place, None], back[place, None]
            found, rounding = gradient(layer, here, pulled)[0].double(), ROUNDINGS * eps * float(here.norm() * pulled.norm())
            if float((found - wanted).norm()) > NEAR * float(wanted.norm()) + rounding:
                raise InputError(
                    f"What a sample says of the parameters of {layer.name!r} is not seen in that layer alone: they act "
                    "elsewhere too, as weights do that a function is given, or the samples stand there in another order or "
                    "along another axis than the first. That is not covered. Leave it out (params=)."
                )


def _by_torch(layers: Sequence[Layer], outputs: Tensor, direction: Tensor) -> list[Tensor]:
    """(P_l,) float64 of each layer, the gradient of Σ direction ∘ outputs."""
    names = [list(layer.split(layer.params)) for layer in layers]
    held = [layer.module.get_parameter(name) for layer, own in zip(layers, names, strict=True) for name in own]
    found = iter(torch.autograd.grad(outputs, held, direction, retain_graph=True, materialize_grads=True))
    return [layer.join({name: next(found) for name in own}).double() for layer, own in zip(layers, names, strict=True)]
