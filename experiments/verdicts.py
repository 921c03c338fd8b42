"""Whether a claim of the paper holds: a word that follows from numbers by a stated rule, and from nothing else."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HOLDS, PARTLY, FAILS, UNTESTED = WORDS = ("holds", "holds partly", "does not hold", "can't be tested here")
WAYS = PAPER, CODE = ("as-paper", "as-code")
ROUNDING = 12  # decimals; a rank correlation of 0.9 may come out as 0.8999999999999999
RELATIONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Check:
    """One number beside the bound that the claim sets it.

    Attributes:
        what: the number in words.
        value: what was measured; NaN where it could not be.
        relation: `"≥"`, `"≤"`, `">"` or `"<"`.
        bound: what it is compared with.
    """

    what: str
    value: float
    relation: str
    bound: float

    @property
    def known(self) -> bool:
        """Whether there is a number to compare."""
        return math.isfinite(self.value)

    @property
    def passed(self) -> bool:
        """Whether the number, but for its rounding, is on the side of the bound that the claim says."""
        return self.known and RELATIONS[self.relation](round(self.value - self.bound, ROUNDING), 0)

    def __str__(self) -> str:
        return f"{self.what} {shown(self.value)} {self.relation} {shown(self.bound)}: {'yes' if self.passed else 'no'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim of the paper, and what became of it.

    It holds where all checks pass, does not where none does, and holds partly in between; it can't be tested where there is no
    check, or one without a number, or another reason.

    Attributes:
        claim: in one line.
        paper: its figure, as the paper gives it.
        checks: the rule, with the numbers put in.
        recipe: `"as-paper"`, or `"as-code"`: as the published code does it.
        untested: why there are no checks, or why these say nothing.
    """

    claim: str
    paper: str
    checks: tuple[Check, ...] = ()
    recipe: str = PAPER
    untested: str = ""

    @property
    def word(self) -> str:
        """One of `WORDS`."""
        if self.untested or not self.checks or not all(check.known for check in self.checks):
            return UNTESTED
        passed = sum(check.passed for check in self.checks)
        return HOLDS if passed == len(self.checks) else PARTLY if passed else FAILS

    @property
    def ours(self) -> str:
        """Our figures."""
        return "; ".join(f"{check.what} {shown(check.value)}" for check in self.checks if check.known)

    @property
    def why(self) -> str:
        """The rule and how each part of it came out, or why there was nothing to try."""
        missing = "; ".join(f"{check.what} has no value" for check in self.checks if not check.known)
        if self.word == UNTESTED:
            return self.untested or missing or "nothing was measured"
        return "; ".join(map(str, self.checks))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        words = {name: getattr(self, name) for name in ("claim", "paper", "ours", "word", "why", "recipe")}
        return words | {"checks": [[each.what, each.value, each.relation, each.bound] for each in self.checks if each.known]}


def shown(value: float) -> str:
    """A number with two or three digits."""
    if not math.isfinite(value):
        return "unknown"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.1e}"
