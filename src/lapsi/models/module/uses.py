"""Whether the layers see all that their parameters do: their gradients are then those of torch."""

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
SEED = 0


def require_all_uses(module: nn.Module, layers: Sequence[Layer], batches: Batches) -> None:
    """Refuses parameters that take part in the outputs elsewhere than in the call of their layer, looking at one sample.

    Raises:
        InputError: that names the layer.
    """
    given = batches.take([0])
    passed = pass_through(module, layers, 1, *given.inputs, **given.named)
    direction = torch.randn(passed.outputs.shape, generator=torch.Generator().manual_seed(SEED)).to(passed.outputs)
    deltas = passed.deltas(direction)
    for layer, inputs, back in zip(layers, passed.inputs(), deltas, strict=True):
        found, wanted = gradient(layer, inputs, back)[0].double(), _by_torch(layer, passed.outputs, direction).double()
        rounding = ROUNDINGS * torch.finfo(passed.outputs.dtype).eps * float(inputs.norm() * back.norm())
        if float((found - wanted).norm()) > NEAR * float(wanted.norm()) + rounding:
            raise InputError(
                f"The parameters of {layer.name!r} act elsewhere in the module too, as weights do that a function is given: "
                "what a sample says of them is then not seen in its layer alone, which is not covered. Leave it out (params=)."
            )


def _by_torch(layer: Layer, outputs: Tensor, direction: Tensor) -> Tensor:
    """(P_l,) the gradient of Σ direction ∘ outputs."""
    named = {name: layer.module.get_parameter(name) for name in layer.split(layer.params)}
    found = torch.autograd.grad(outputs, list(named.values()), direction, retain_graph=True, materialize_grads=True)
    return layer.join(dict(zip(named, found, strict=True)))
