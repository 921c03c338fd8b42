"""Whether two readings of a sample are the same: LSI is of samples that every pass over the data sees alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def differ(first: Any, second: Any) -> bool:
    """Whether two values hold other tensors, arrays, texts or numbers; NaN is as NaN, and of other things nothing is known."""
    match first:
        case Tensor() | np.ndarray():
            return type(first) is not type(second) or first.shape != second.shape or _any_differ(first, second)
        case Mapping():
            alike = isinstance(second, Mapping) and set(first) == set(second)
            return not alike or any(differ(first[name], second[name]) for name in first)
        case list() | tuple():
            alike = isinstance(second, list | tuple) and len(first) == len(second)
            return not alike or any(map(differ, first, second))
        case str() | bytes() | bool() | int() | float() | np.generic():
            return type(first) is not type(second) or _any_differ(np.asarray(first), np.asarray(second))
    return False


def _any_differ(first: Any, second: Any) -> bool:
    """Of arrays, or tensors, of one shape."""
    is_same = (first == second) | ((first != first) & (second != second))  # noqa: PLR0124
    return not bool(is_same.all())
