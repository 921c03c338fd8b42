"""The device that work runs on."""

from __future__ import annotations

import torch

from lapsi.errors import InputError, first_line


def device_of(name: str | None) -> torch.device:
    """The device of a name; the CPU for None.

    Raises:
        InputError: when torch has no such device.
    """
    try:
        return torch.device(name or "cpu")
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device {name!r} cannot be used ({first_line(error)}); try 'cpu'.") from error


def require_device(name: str | None) -> torch.device:
    """The device of a name, after something was done on it.

    Raises:
        InputError: when it cannot be used.
    """
    device = device_of(name)
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InputError(f"device {name!r} cannot be used ({first_line(error)}); try 'cpu'.") from error
    return device


def synchronize(device: torch.device) -> None:
    """Waits for what was asked of a GPU, so that a clock read next counts it; the CPU never runs ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
