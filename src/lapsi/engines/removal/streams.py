"""What is found when samples leave, in chunks: by the closed form alone, corrected by neighbours, refined or converged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lapsi.engines.removal.base import Step, removal_at, removed_of
from lapsi.engines.removal.chord import chord_steps, settle
from lapsi.engines.removal.neighbours import Neighbours
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, REFINED, Removed

REFINED_CHUNK = 128
FLOOR = 2.5e-5  # what rounding in float32 and the share of the weight decay leave of the closed form at least


def closed_forms(step: Step, rows: Tensor, missing: Callable[[Tensor], Tensor]) -> Iterator[Removed]:
    """The Newton step alone; `missing` tells what is missing of it (n,), by how far the outputs of each sample move (n,)."""
    for positions, removal in step.chunks(rows):
        removed = removed_of(removal, positions, removal.newton_step(), CLOSED_FORM)
        yield replace(removed, remaining=missing(removed.diagnostics["output_change"]))


def refined(step: Step, rows: Tensor, count: int) -> Iterator[Removed]:
    """The Newton step and `count` chord steps after it."""
    for positions, removal in step.chunks(rows):
        shift, remaining = chord_steps(removal, count)
        yield removed_of(removal, positions, shift, REFINED, remaining)


def corrected(
    step: Step, rows: Tensor, positions: np.ndarray, neighbours: Neighbours, missing: Callable[[Tensor], Tensor]
) -> Removed:
    """The closed form and the second-order term of the nearest neighbours; `missing` goes by the relative size (n,) of that."""
    removal = removal_at(step, rows, positions)
    shift = removal.newton_step()
    correction = neighbours.correction(removal, shift)
    return removed_of(removal, positions, shift - correction, CORRECTED, missing(step.compared(correction, shift).size))


def converged(step: Step, rows: Tensor, positions: np.ndarray, tolerance: float) -> Iterator[Removed]:
    """Chord-Newton steps for each sample until what remains is below `tolerance` relative to the shift."""
    for part in in_chunks(step, positions, torch.float64):
        removal = removal_at(step, rows, part)
        shift, remaining = settle(removal, tolerance)
        yield removed_of(removal, part, shift, CONVERGED, remaining)


def in_chunks(step: Step, positions: np.ndarray, dtype: torch.dtype) -> list[np.ndarray]:
    """Positions (k,) of samples, as many at once as are taken beyond the closed form."""
    size = min(REFINED_CHUNK, step.at_once(dtype))
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def like_together(step: Step, rows: Tensor, positions: np.ndarray) -> np.ndarray:
    """Some positions (k,) of samples `rows` in an order in which those that share products follow each other."""
    return positions[step.alike(rows[torch.as_tensor(positions, device=rows.device)]).cpu().numpy()]
