"""The device that work runs on."""

from __future__ import annotations

import torch

from lapsi.errors import InputError, first_line


def require_device(name: str | None) -> torch.device:
    """The device of a name.

    Raises:
        InputError: when it cannot be used.
    """
    try:
        device = torch.device(name or "cpu")
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InputError(f"device {name!r} cannot be used ({first_line(error)}); try 'cpu'.") from error
    return device
