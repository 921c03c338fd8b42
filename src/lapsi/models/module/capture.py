"""What passes through the layers of a module: one pass forwards, any number backwards, for single samples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lapsi.data.batches import Arguments
from lapsi.errors import InputError
from lapsi.models.module.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """A batch that has passed forwards.

    Attributes:
        layers: those that are watched.
        outputs: z of the module (n, …), with the graph behind it.
        given, left: what each layer was given, and what came out of it.
    """

    layers: Sequence[Layer]
    outputs: Tensor
    given: dict[str, Tensor]
    left: dict[str, Tensor]

    def inputs(self) -> list[Tensor]:
        """What goes into each layer (n, T, …), in the dtype of its outputs, float32 at least."""
        return [
            at_least_float32(layer.inputs(self.given[layer.name].detach()).to(self.left[layer.name].dtype))
            for layer in self.layers
        ]

    def deltas(self, direction: Tensor, *, again: bool = True, graph: bool = False) -> list[Tensor]:
        """δ (n, T, …) of each layer of Σ direction ∘ z, direction in the shape of z.

        `again`: whether the graph is needed once more; `graph`: whether δ itself is to be derived.
        """
        found = torch.autograd.grad(
            self.outputs,
            [self.left[layer.name] for layer in self.layers],
            direction.to(self.outputs.dtype),
            retain_graph=again or graph,
            create_graph=graph,
            materialize_grads=True,
        )
        return [layer.deltas(at_least_float32(back)) for layer, back in zip(self.layers, found, strict=True)]


def pass_through(
    module: nn.Module, layers: Sequence[Layer], n_samples: int, given: Arguments, *, twice: bool = False
) -> Passed:
    """A batch of samples through the module in evaluation mode; what its layers saw is kept.

    `twice`: whether δ is to be derived (`Passed.deltas(graph=True)`), which fused attention cannot.

    Raises:
        InputError: when a layer is not used once, or does not see the samples along its first axis.
    """
    came: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}

    def watch(layer: Layer) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Tensor], Tensor]:
        def keep(_: nn.Module, arguments: tuple[Any, ...], by_name: dict[str, Any], made: Tensor) -> Tensor:
            if layer.name in left:
                raise InputError(
                    f"The module {layer.name!r} is used more than once in a pass: what a sample says of it comes from several "
                    "places, which is not covered. Leave it out (params=)."
                )
            first = arguments[0] if arguments else next(iter(by_name.values()))
            came[layer.name], left[layer.name] = (_of_each(values, n_samples) for values in (first, made))
            return left[layer.name].clone()  # what follows may write into it

        return keep

    hooks = [layer.module.register_forward_hook(watch(layer), with_kwargs=True) for layer in layers]
    try:
        attention = sdpa_kernel(SDPBackend.MATH) if twice else nullcontext()
        with evaluating(module), torch.set_grad_enabled(len(layers) > 0), attention:
            outputs = outputs_among(module(*given.inputs, **given.named))
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        _require_samples(layer, left.get(layer.name), n_samples)
    return Passed(layers, outputs, came, left)


def at_least_float32(values: Tensor) -> Tensor:
    """What came in half the precision, widened: sums over places and samples need it."""
    return values.float() if values.dtype.itemsize < torch.float32.itemsize else values


def _of_each(values: Tensor, n_samples: int) -> Tensor:
    """What all samples share, such as positions in a text, as a row for each."""
    return values.expand(n_samples, *values.shape[1:]) if len(values) == 1 else values


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it the module is in evaluation mode; afterwards each part as it was."""
    was_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in was_training:
            part.training = True


def _require_samples(layer: Layer, left: Tensor | None, n_samples: int) -> None:
    if left is None:
        raise InputError(f"The module {layer.name!r} was not called in a pass; leave it out (params=).")
    if len(left) != n_samples:
        raise InputError(
            f"The module {layer.name!r} gives {len(left)} rows for {n_samples} samples; expected the samples along the first "
            "axis. Leave it out (params=)."
        )


def outputs_among(found: Any) -> Tensor:
    """The outputs (n, …) among what a module returns: a tensor, the first of several, or `logits`; one number a sample is
    (n, 1)."""
    if isinstance(found, Tensor):
        return found if found.ndim > 1 else found.reshape(-1, 1)
    logits = found.get("logits") if isinstance(found, dict) else getattr(found, "logits", None)
    if logits is None and isinstance(found, tuple | list) and len(found) > 0:
        logits = found[0]
    if not isinstance(logits, Tensor):
        raise InputError(
            f"The module returns a {type(found).__name__}; expected a tensor of outputs, or an object with `logits`."
        )
    return outputs_among(logits)
