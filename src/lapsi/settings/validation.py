"""Checks of single settings; the message says what was got and what was expected."""

from __future__ import annotations

import math

from lapsi.errors import InputError
from lapsi.settings.option import Number


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """One of some words."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}.")


def require_number(name: str, value: object, least: float, below: float = math.inf, *, beyond: bool = False) -> float:
    """A finite number of at least `least` (greater where `beyond`) and below `below`, as a plain Python value."""
    return Number(least, below, beyond=beyond).check(name, value)  # type: ignore[return-value]
