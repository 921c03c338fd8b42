"""Figures as a person writes them."""

from __future__ import annotations

import numpy as np

from lapsi.results.scores import Scores

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Three significant digits, e.g. "0.0123" or "4.56 × 10⁻⁷"."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.{max(0, 2 - _exponent(value))}f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def share(value: float | None) -> str:
    """Percent, with a dash for what is not known."""
    return "–" if value is None else f"{value:.1%}"


def counted(count: int) -> str:
    """E.g. "1 sample"."""
    return f"{count:,} sample{'' if count == 1 else 's'}"


def n_doubted(scores: Scores) -> int:
    """Samples whose target is doubted."""
    return int(scores.doubted.sum())


def _exponent(value: float) -> int:
    return int(np.floor(np.log10(abs(value))))
