"""Dictionaries of tensors that `torch.save` wrote."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from lapsi.errors import InputError, first_line

TENSORS = (".pt", ".pth")


def read_tensors(path: Path) -> dict[str, Any]:
    """Tensors, mapped from there, and lists by their names; nothing else is made of what the file holds, so it runs no code.

    Raises:
        InputError: when it holds something else.
        OSError, ValueError: when it cannot be read.
    """
    import torch  # no other file of features needs it

    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        kind = "one tensor without a name" if isinstance(held, torch.Tensor) else f"a {type(held).__name__}"
        raise InputError(
            f"{path.name} holds {kind}; expected a dictionary, e.g. torch.save({{'features': x, 'labels': y}}, {path.name!r})."
        )
    return held
