"""Checks of single settings; the message says what was got and what was expected."""

from __future__ import annotations

import math

from lapsi.errors import InputError


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """One of some words."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}.")


def require_number(
    name: str, value: object, least: float, below: float = math.inf, *, beyond: bool = False, also: str = ""
) -> None:
    """A finite number of at least `least` (greater where `beyond`) and below `below`; `also` names what else is allowed."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or value >= below or (beyond and value == least):  # type: ignore[operator]
        bound = f"{'greater than' if beyond else 'of at least'} {least:g}" + (
            "" if math.isinf(below) else f" and below {below:g}"
        )
        raise InputError(f"{name} is {value!r}; expected {also}a finite number {bound}.")


def require_integer(name: str, value: object, least: int = 0, also: str = "") -> None:
    """An integer of at least `least`; `also` names what else is allowed."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; expected an integer of at least {least}{also}.")
