"""What a sample of a module takes while it passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lapsi.data.batches import Batches
from lapsi.errors import InputError, LapsiError, first_line
from lapsi.models.module.capture import pass_through
from lapsi.models.module.layers import Layer

LOOKED_AT = 4  # samples, of which the largest tells


@dataclass(frozen=True, slots=True)
class Footprint:
    """Numbers of one sample.

    Attributes:
        shape: of its outputs.
        inputs: that go into the layers, patches of convolutions and the constants among them.
        left: that come out of them.
    """

    shape: tuple[int, ...]
    inputs: int
    left: int

    def pass_bytes(self, n_directions: int, itemsize: int) -> int:
        """Of a sample in a pass with as many roots: what goes in and out, the graph behind it, δ of each root, outputs."""
        outputs = 8 * (n_directions + 3) * torch.Size(self.shape).numel()
        return itemsize * (self.inputs + (n_directions + 3) * self.left) + outputs


def footprint(module: nn.Module, layers: Sequence[Layer], batches: Batches) -> Footprint:
    """The largest of some samples.

    Raises:
        InputError: when the module does not take the samples, or a layer does not see them.
    """
    found = []
    for row in batches.spread(LOOKED_AT):
        given = batches.take(row[None])
        try:
            passed = pass_through(module, layers, 1, given)
        except (LapsiError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            shapes = [*map(_shape, given.inputs), *(f"{name} {_shape(each)}" for name, each in given.named.items())]
            raise InputError(
                f"The module does not take sample {int(row)} of the data set ({', '.join(shapes)}): {first_line(error)}."
            ) from error
        inputs = sum(each.numel() for each in passed.inputs())
        found.append(Footprint(tuple(passed.outputs.shape[1:]), inputs, sum(each.numel() for each in passed.left.values())))
    return max(found, key=lambda each: each.inputs + each.left)


def _shape(given: Any) -> str:
    """E.g. "(1, 3, 32, 32) float32"."""
    if not isinstance(given, Tensor):
        return type(given).__name__
    return f"{tuple(given.shape)} {str(given.dtype).removeprefix('torch.')}"
