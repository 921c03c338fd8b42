"""Activation functions, their slopes, and how both change, in difference form: rounding is relative to the change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function φ.

    Attributes:
        name: its name.
        value: φ(a).
        slope: φ′(a).
        change: φ(a + Δa) − φ(a) and φ′(a + Δa) − φ′(a) from a and Δa, which broadcast.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def positive_part_change(at: Tensor, change: Tensor) -> Tensor:
    """max(a + Δ, 0) − max(a, 0) without subtracting nearly equal numbers."""
    return torch.where(at > 0, torch.maximum(change, -at), (at + change).clamp_(min=0))


def _relu_slope(at: Tensor) -> Tensor:
    return (at > 0).to(at.dtype)


def _relu_change(at: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    moved = (change > -at).to(change.dtype)
    return positive_part_change(at, change), moved - (at > 0).to(change.dtype)


def _tanh_slope(at: Tensor) -> Tensor:
    return 1 - torch.tanh(at).square()


def _tanh_change(at: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    value, step = torch.tanh(at), torch.tanh(change)
    near = step * (1 - value.square()) / (1 + value * step)
    value_change = torch.where(change.abs() < 0.5, near, torch.tanh(at + change) - value)
    return value_change, -value_change * (2 * value + value_change)


def _gelu_slope(at: Tensor) -> Tensor:
    return torch.special.ndtr(at) + at * torch.exp(-0.5 * at.square()) / (2 * torch.pi) ** 0.5


def _gelu_change(at: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """In float64: it has no difference form of its own, and 1e-16 against a change of 1e-6 leaves ten digits."""
    before = at.double()
    after = before + change.double()
    value_change = torch.nn.functional.gelu(after) - torch.nn.functional.gelu(before)
    return value_change.to(change.dtype), (_gelu_slope(after) - _gelu_slope(before)).to(change.dtype)


ACTIVATIONS = {
    "relu": Activation("relu", torch.relu, _relu_slope, _relu_change),
    "tanh": Activation("tanh", torch.tanh, _tanh_slope, _tanh_change),
    "gelu": Activation("gelu", torch.nn.functional.gelu, _gelu_slope, _gelu_change),
}
