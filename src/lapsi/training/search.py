"""The least value of a function on a lattice, in few evaluations: it falls, then rises, but for small waves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Loss = Callable[[int], float]
SAME = 1e-6  # relative difference of two values that rounding and fits that are near make


def is_less(value: float, other: float) -> bool:
    """Whether a value is less than another by more than rounding."""
    return value < other and not math.isclose(value, other, rel_tol=SAME)


def walk(loss: Loss, steps: Sequence[int], through: int, patience: int) -> int:
    """The best of `steps`, taken in their order: the first `through` all, the rest until `patience` in succession are worse."""
    best, worse = steps[0], 0
    for count, step in enumerate(steps):
        if count >= through and worse >= patience:
            break
        better = is_less(loss(step), loss(best))
        best, worse = (step, 0) if better else (best, worse + (step != best))
    return best


def bracket(loss: Loss, start: int, span: int, ends: tuple[int, int]) -> int:
    """The best of `start` and the steps `span` apart from it, onward as long as they are better."""
    best = start
    while True:
        beside = [step for step in (best - span, best + span) if ends[0] <= step <= ends[1]]
        better = min(beside, key=loss, default=best)
        if not is_less(loss(better), loss(best)):
            return best
        best = better


def vertex(loss: Loss, middle: int, span: int, ends: tuple[int, int]) -> int:
    """The better of `middle` and the lowest point of the parabola through it and its neighbours `span` apart."""
    left, right = middle - span, middle + span
    if left < ends[0] or right > ends[1]:
        return middle
    fall, rise = loss(left) - loss(middle), loss(right) - loss(middle)
    if not 0 < fall + rise < float("inf"):
        return middle
    lowest = middle + round(0.5 * span * (fall - rise) / (fall + rise))
    return lowest if is_less(loss(lowest), loss(middle)) else middle
