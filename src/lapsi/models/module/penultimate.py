"""What goes into the last linear layer of a module: the features by which it tells samples apart, for maps and neighbours.

Legend of the indices: n sample, t place, d feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from lapsi.data.batches import IGNORED, SEEN, Arguments, Batches
from lapsi.models.module.capture import pass_through
from lapsi.models.module.layers import LinearLayer, covered

WIDEST = 512  # features of a sample
MOST_ENTRIES = 2**25  # of all samples


@final
@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of N samples, as a module sees them.

    Attributes:
        values: (N, d) float32.
        layer: the linear layer that they go into.
        width: how many go in; more than d where they were projected at random.
    """

    values: np.ndarray
    layer: str
    width: int

    @property
    def record(self) -> dict[str, Any]:
        """What is told of them."""
        return {"layer": self.layer, "width": self.width, "kept": self.values.shape[1]}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Penultimate:
    """The linear layer that a module calls last.

    Attributes:
        name, layer: of it.
        width: numbers that go in.
        projection: (width, d) where these are too many to be kept: Gaussian, so that squared distances are kept on average
            (Johnson and Lindenstrauss 1984); else None.
    """

    name: str
    layer: nn.Module
    width: int
    projection: Tensor | None

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """Within it, what goes in at each call (n, …, width)."""
        seen: list[Tensor] = []
        with _hooked(self.layer, seen.append):
            yield seen

    def features(self, given: Tensor, arguments: Arguments) -> Tensor:
        """(n, d) float32 of what goes in (n, …, width); of several places the mean over those that count."""
        values = given.float() if given.ndim == 2 else _mean(given.flatten(1, -2).float(), arguments)
        return values if self.projection is None else values @ self.projection.to(values.device)

    def of_all(self, parts: list[Tensor], n_samples: int) -> Features | None:
        """Of those of all samples in parts; None where some have none, or none that is a number."""
        if sum(map(len, parts)) != n_samples:
            return None
        values = torch.cat(parts)
        return Features(values.numpy(), self.name, self.width) if bool(values.isfinite().all()) else None


def penultimate(module: nn.Module, batches: Batches) -> Penultimate | None:
    """By a pass of the first sample; None where no linear layer is called with it along the first axis."""
    first = batches.take([0])
    called: list[tuple[str, nn.Module, torch.Size]] = []

    def note(name: str, part: nn.Module) -> Callable[[Tensor], None]:
        return lambda given: called.append((name, part, given.shape))

    with ExitStack() as hooks:
        for name, part in module.named_modules():
            if isinstance(covered(name, part, ("weight",)), LinearLayer):
                hooks.enter_context(_hooked(part, note(name, part)))
        pass_through(module, (), 1, first)
    if not called or len(called[-1][2]) < 2 or called[-1][2][0] != 1:
        return None
    name, part, shape = called[-1]
    kept = max(1, min(shape[-1], WIDEST, MOST_ENTRIES // len(batches)))
    return Penultimate(name, part, shape[-1], None if kept == shape[-1] else _projection(shape[-1], kept))


@contextmanager
def _hooked(part: nn.Module, keep: Callable[[Tensor], object]) -> Iterator[None]:
    """Within it, `keep` is given what goes into a module at each call."""

    def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        keep((arguments or tuple(named.values()))[0].detach())

    handle = part.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _projection(width: int, kept: int) -> Tensor:
    return torch.randn(width, kept, generator=torch.Generator().manual_seed(0)) / kept**0.5


def _mean(values: Tensor, arguments: Arguments) -> Tensor:
    """(n, d) over the places of values (n, t, d): over the tokens that are no padding, as far as that is known."""
    counted = _counted(values, arguments)[:, :, None]
    return values.masked_fill(~counted, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def _counted(values: Tensor, arguments: Arguments) -> Tensor:
    """(n, t) bool: by the mask that goes in, else by the targets."""
    seen, targets = arguments.named.get(SEEN), arguments.targets
    if isinstance(seen, Tensor) and seen.shape == values.shape[:2]:
        return seen != 0
    if targets.shape == values.shape[:2] and not targets.is_floating_point():
        return targets != IGNORED
    return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
