"""What is found when samples leave, in chunks: by the closed form alone, corrected by neighbours, refined or converged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lapsi.engines.newton.neighbours import Neighbours
from lapsi.engines.newton.steps import Optimum, Removal, chunk_size, relative_norm, removal_of
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, REFINED, Removed

REFINED_CHUNK = 128
FLOOR = 2.5e-5  # what rounding in float32 and the share of the weight decay leave of the closed form at least


def closed_forms(optimum: Optimum, rows: Tensor, by_move: float) -> Iterator[Removed]:
    """The Newton step alone; `by_move` is missing of it for each unit by which the sample's outputs move."""
    for positions, removal in _chunks(optimum, rows):
        removed = removed_of(removal, positions, removal.newton_step(), CLOSED_FORM)
        yield replace(removed, remaining=by_move * removed.diagnostics["output_change"] + FLOOR)


def refined(optimum: Optimum, rows: Tensor, steps: int) -> Iterator[Removed]:
    """The Newton step and `steps` chord steps after it."""
    for positions, removal in _chunks(optimum, rows):
        shift, remaining = removal.chord_steps(steps)
        yield removed_of(removal, positions, shift, REFINED, remaining)


def corrected(optimum: Optimum, rows: Tensor, positions: np.ndarray, neighbours: Neighbours, by_step: float) -> Removed:
    """The closed form and the second-order term of the nearest neighbours, of whose size the share `by_step` is missing."""
    removal = removal_at(optimum, rows, positions)
    shift = removal.newton_step()
    step = neighbours.step(removal, shift)
    return removed_of(removal, positions, shift - step, CORRECTED, by_step * relative_norm(step, shift) + FLOOR)


def converged(optimum: Optimum, rows: Tensor, positions: np.ndarray, tolerance: float) -> Iterator[Removed]:
    """Chord-Newton steps for each sample until what remains is below `tolerance` relative to the shift."""
    for part in in_chunks(optimum, positions, torch.float64):
        removal = removal_at(optimum, rows, part)
        shift, remaining = removal.settle(tolerance)
        yield removed_of(removal, part, shift, CONVERGED, remaining)


def removal_at(optimum: Optimum, rows: Tensor, positions: np.ndarray) -> Removal:
    """Of the samples at some positions (k,) of `rows`."""
    return removal_of(optimum, rows[torch.as_tensor(positions, device=rows.device)])


def in_chunks(optimum: Optimum, positions: np.ndarray, dtype: torch.dtype) -> list[np.ndarray]:
    """Positions (k,) of samples, as many at once as are taken beyond the closed form."""
    size = min(REFINED_CHUNK, chunk_size(optimum.problem, dtype))
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def removed_of(
    removal: Removal, positions: np.ndarray, shift: Tensor, refinement: str, remaining: Tensor | None = None
) -> Removed:
    """The chunk that its shift (n, F, D) makes of a removal."""
    change = removal.optimum.problem.own_output_change(removal.units, shift)[:, 0]
    remaining = torch.full((len(shift),), torch.nan, dtype=torch.float64) if remaining is None else remaining
    diagnostics = {"leverage": removal.leverage(), "output_change": change.abs().amax(1)}
    outputs = (removal.outputs + change)[:, None]
    params = removal.optimum.params
    return Removed(removal.units, positions, params, shift, outputs, refinement, remaining, diagnostics)


def _chunks(optimum: Optimum, rows: Tensor) -> Iterator[tuple[np.ndarray, Removal]]:
    """Positions and removals, in chunks that share one workspace."""
    inverse, problem = optimum.inverse, optimum.problem
    size = min(len(rows), chunk_size(problem, inverse.dtype))
    workspace = inverse.new_empty(problem.model.n_directions, size, len(inverse))
    for start in range(0, len(rows), size):
        removal = removal_of(optimum, rows[start : start + size], workspace)
        yield np.arange(start, start + len(removal.rows)), removal
