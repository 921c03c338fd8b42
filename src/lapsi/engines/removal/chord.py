"""Chord-Newton steps from the closed form to the leave-one-out optimum, in difference form (docs/math.md, Leave-one-out)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.engines.removal.base import Compared, Removal

CHORD_STEPS = 16
ROUNDING_BELOW = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Approach:
    """How far chord steps came.

    Attributes:
        shift: (n, F, D).
        remaining: (n,) half of what remains of LSI, relative to it; infinite for each that did not get there.
        step: (n, F, D) the last step, which was subtracted.
    """

    shift: Tensor
    remaining: Tensor
    step: Tensor

    def part(self, chosen: Tensor) -> Approach:
        """The same for some of the samples: where `chosen` (n,) is true."""
        return Approach(self.shift[chosen], self.remaining[chosen], self.step[chosen])


def chord_step(removal: Removal, shift: Tensor) -> Tensor:
    """`Removal.solve` of the gradient without the sample at `shift`; computed in the dtype of `shift`."""
    return removal.solve(removal.step.problem.gradient_without(removal.rows[:, None], removal.step.params, shift))


def one_step(removal: Removal, dtype: torch.dtype) -> tuple[Approach, Tensor]:
    """The Newton step and one chord step in `dtype` after it, and the size (n,) of that beside the shift it corrects.

    A sample whose step is no smaller than the shift rests where it was, and infinitely much remains.
    """
    shift = removal.newton_step().to(dtype)
    step = chord_step(removal, shift)
    compared = removal.step.compared(step, shift)
    shrinks = compared.size < 1
    step[~shrinks] = 0
    remaining = torch.where(shrinks, compared.of_lsi(compared.size), torch.inf)
    return Approach(shift - step, remaining, step), compared.size


def chord_steps(removal: Removal, count: int) -> tuple[Tensor, Tensor]:
    """The first shift (n, F, D) and `count` chord-Newton steps after it, and what remains (n,), as in `approach`."""
    shift = removal.newton_step()
    remaining = torch.full((len(shift),), torch.nan, dtype=torch.float64, device=shift.device)
    last = torch.ones_like(remaining)
    for _ in range(count):
        step = chord_step(removal, shift)
        size = removal.step.compared(step, shift).size
        shift = shift - step
        remaining, last = _left_to_go(size, last), size
    return shift, remaining


def approach(
    removal: Removal,
    tolerance: Tensor | float,
    dtype: torch.dtype = torch.float64,
    start: Tensor | None = None,
    before: Tensor | None = None,
) -> Approach:
    """Chord-Newton steps in `dtype` until half of what remains of LSI is below `tolerance` (n,) relative to it.

    They go on from `start` (n, F, D), or begin with the Newton step; `before` is the step that led to the start. The first
    step that none can be compared with is itself what remains after it. A sample whose steps do not shrink, the first against
    the shift it corrects, or not fast enough, rests where it was, and infinitely much remains. What is to come is taken to be
    as much in line with the shift as the step that was most so.
    """
    shift = (removal.newton_step() if start is None else start).to(dtype, copy=True)
    left = torch.full((len(shift),), torch.inf, dtype=torch.float64, device=shift.device)
    tolerance, taken = torch.as_tensor(tolerance).to(left).expand_as(left), torch.zeros_like(shift)
    active, last, alignment = torch.arange(len(shift), device=shift.device), torch.ones_like(left), torch.zeros_like(left)
    if before is not None:
        came = removal.step.compared(before, shift + before)
        last, alignment = came.size, came.alignment
    for count in range(CHORD_STEPS):
        step = chord_step(removal, shift[active])
        compared = removal.step.compared(step, shift[active])
        size, alignment = compared.size, torch.maximum(alignment, compared.alignment)
        compared = Compared(size, alignment)
        shrinks = size < last
        shift[active[shrinks]] -= step[shrinks]
        taken[active[shrinks]] = step[shrinks]
        remaining = compared.of_lsi(size if count == 0 and before is None else _to_go(size, last))
        converged = shrinks & (remaining <= tolerance[active])
        left[active[converged]] = remaining[converged]
        to_come = (size / last) ** (CHORD_STEPS - 1 - count)
        arrives = compared.of_lsi(_to_go(size, last) * to_come) <= tolerance[active]
        goes_on = shrinks & ~converged & arrives
        if not bool(goes_on.any()):
            break
        if not bool(goes_on.all()):
            active, size, alignment, removal = active[goes_on], size[goes_on], alignment[goes_on], removal.part(goes_on)
        last = size
    return Approach(shift, left, taken)


def settle(removal: Removal, tolerance: float) -> tuple[Tensor, Tensor]:
    """Shifts (n, F, D) to the leave-one-out optima and what remains (n,): chord steps, and a fit anew where they do not arrive.

    Raises:
        ConvergenceError: where an optimum is not reached.
    """
    came = approach(removal, tolerance)
    return removal.refit(came.shift, came.remaining, tolerance)


def _to_go(size: Tensor, last: Tensor) -> Tensor:
    """What steps leave whose last was `size` and the one before `last`: they shrink by √(size/last) from here on.

    The factor rises while what is of higher order dies out, hence the root.
    """
    factor = (size / last).sqrt()
    return size * factor / (1 - factor)


def _left_to_go(size: Tensor, last: Tensor) -> Tensor:
    """`_to_go`; infinite where they do not shrink. Small ones that do not shrink are rounding, and leave as much again."""
    return torch.where(size < last, _to_go(size, last), torch.where(size < ROUNDING_BELOW, size, torch.inf))
