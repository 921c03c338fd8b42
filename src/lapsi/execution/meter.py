"""How far parts are that are done elsewhere: what is told there, and the bar that is moved by it here.

This module loads nothing large, so that the process that keeps a `Meter` starts at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lapsi.execution.progress import Advance

TOLD_SECONDS = 0.3
Key = tuple[str, int]  # of a task, and of one of its parts


class Meter:
    """Steps of the parts that are worked on; an actor of Ray."""

    def __init__(self) -> None:
        """Of none yet."""
        self._steps: dict[Key, int] = {}

    def tell(self, key: Key, steps: int) -> None:
        """How many steps of a part are done by now."""
        self._steps[key] = steps

    def told(self) -> dict[Key, int]:
        """Those told since it was asked last."""
        steps, self._steps = self._steps, {}
        return steps


class Steps:
    """Counts the steps of a part, and tells them now and then."""

    def __init__(self, tell: Callable[[int], Any]) -> None:
        """`tell` is told all steps so far."""
        self._tell, self._last = tell, time.monotonic()
        self.count = 0

    def __call__(self, steps: int) -> None:
        """So many more."""
        self.count += steps
        if time.monotonic() - self._last > TOLD_SECONDS:
            self._tell(self.count)
            self._last = time.monotonic()


@dataclass(frozen=True, slots=True)
class Bar:
    """Tells every step of each part once, also where a part is done again.

    Attributes:
        advance: is told them.
        told: steps of each part so far.
    """

    advance: Advance
    told: dict[int, int] = field(default_factory=dict)

    def reach(self, number: int, steps: int) -> None:
        """So many steps of a part are done, now or before its worker died."""
        before = self.told.get(number, 0)
        if steps > before:
            self.told[number] = steps
            self.advance(steps - before)
