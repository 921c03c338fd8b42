"""The one loop over what leaves: chunk of removals → curvature → divergence → columns → kept, part by part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.engines.base import Advance, Fit, Part, Units
from lapsi.errors import ConvergenceError
from lapsi.execution.checkpoint import Arrays, Checkpoint
from lapsi.problem.removed import Removed
from lapsi.results.verification import Verification, draw_rows, relative_errors

Observe = Callable[[Removed], dict[str, Tensor]]
MEAN, CURVATURE = "lsi_mean", "lsi_curvature"


def evaluate(fit: Fit, units: Units, observe: Observe, checkpoint: Checkpoint, advance: Advance) -> list[Arrays]:
    """Every part of the work, done or found in the checkpoint.

    Args:
        fit: the engine with its data.
        units: what leaves, one by one.
        observe: more columns (n, …) of a chunk.
        checkpoint: where finished parts are kept.
        advance: told the progress.

    Returns:
        For each part lsi_mean and lsi_curvature (E, n), nats, at E epochs; what `observe` gives (n, …), from the last of them;
        `epochs` (E,) and `params` of the model with all samples.

    Raises:
        ConvergenceError: when a divergence is not finite or negative.
    """
    results = []
    for part in fit.parts(len(units)):
        if checkpoint.has(part.name):
            arrays = checkpoint.load(part.name)
        else:
            arrays = _measured(fit, units, part, observe, advance)
            checkpoint.save(part.name, arrays)
        results.append(arrays)
    return results


def n_steps(fit: Fit, n_units: int, checkpoint: Checkpoint) -> int:
    """Steps of the progress bar of `evaluate`."""
    return sum(part.work for part in fit.parts(n_units) if not checkpoint.has(part.name))


def verify(fit: Fit, units: Units, lsi: np.ndarray, asked: int, seed: int, advance: Advance) -> Verification:
    """Checks values `lsi` (n,) of the units, under the first seed, against the slow way for some of them."""
    picked = draw_rows(lsi, fit.n_checks(asked, len(lsi)), seed)
    some = units[torch.from_numpy(picked)] if isinstance(units, Tensor) else [units[position] for position in picked]
    found = list(fit.reference(some))
    values = _totals(fit.curvature, found, advance)
    dense = fit.curvature.exact(len(picked)) if fit.curvature.form != EXACT else None
    exact = None if dense is None else relative_errors(lsi[picked], _totals(dense, found, advance))
    return Verification.of(picked, relative_errors(lsi[picked], values), fit.reference_name, exact)
