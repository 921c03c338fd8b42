"""Which divergence of the two posteriors is told: KL, or that of Rényi of an order."""

from __future__ import annotations

from typing import Any

from lapsi.errors import InputError
from lapsi.settings.option import Choice, Number, option

DIVERGENCES = KL, RENYI = ("kl", "renyi")


def divergence_option() -> Any:
    """The field `divergence` of settings."""
    return option(KL, Choice(DIVERGENCES), "Of the posteriors with and without the sample.")


def order_option() -> Any:
    """The field `order` of settings."""
    return option(None, Number(0, beyond=True, optional=True), "Of the Rényi divergence; of order 1 it is KL.")


def required_order(divergence: str, order: float | None) -> float:
    """The order of a divergence, 1 for KL.

    Raises:
        InputError: when the divergence is none, or the order is missing, or no order of KL.
    """
    if divergence not in DIVERGENCES:
        raise InputError(f"divergence is {divergence!r}; expected {' or '.join(map(repr, DIVERGENCES))}.")
    if order is not None and not isinstance(order, int | float):
        raise InputError(f"order is {order!r}; expected a number above 0.")
    if divergence == KL:
        if order not in (None, 1):
            raise InputError(f"order is {order:g} but divergence is 'kl', which has none; use divergence='renyi'.")
        return 1.0
    if order is None:
        raise InputError("divergence is 'renyi' without an order; give one, e.g. order=2.")
    return float(order)
