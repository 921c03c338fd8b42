"""The one loop over what leaves: chunk of removals → curvature → divergence → columns → kept, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.engines.base import Advance, Fit, Part, Units
from lapsi.errors import ConvergenceError, first_line
from lapsi.execution.checkpoint import Arrays, Checkpoint
from lapsi.precision.base import KLTerms
from lapsi.problem.removed import Removed
from lapsi.results.verification import Drawn, Verification, failed_check, relative_errors, summarise_errors

LSI_MEAN, LSI_CURVATURE, EPOCHS, PARAMS = "lsi_mean", "lsi_curvature", "epochs", "params"


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is kept of a chunk of removals beside its divergence.

    Attributes:
        compute: columns (n, …) by name.
        shapes: what follows the n in each.
        gaps: names of those that may hold NaN.
    """

    compute: Callable[[Removed], dict[str, Tensor]]
    shapes: Mapping[str, tuple[int, ...]]
    gaps: frozenset[str] = frozenset()


def evaluate(fit: Fit, units: Units, observe: Observation, checkpoint: Checkpoint, advance: Advance) -> list[Arrays]:
    """Every part of the work, done or found in the checkpoint.

    Args:
        fit: the engine with its data.
        units: what leaves, one by one.
        observe: what is kept of a chunk beside its divergence.
        checkpoint: where finished parts are kept.
        advance: told the progress.

    Returns:
        For each part `lsi_mean` and `lsi_curvature` (E, n), nats, after E epochs; what `observe` gives (n, …) after the last;
        `epochs` (E,), and `params` of the model with all samples.

    Raises:
        ConvergenceError: when a divergence is not finite or negative.
    """
    results = []
    for part in fit.parts(len(units)):
        if checkpoint.has(part.name):
            arrays = checkpoint.load(part.name)
            wrong = _first_wrong(arrays, part, observe)
            if wrong is not None:
                raise checkpoint.damaged(part.name, f"{wrong} is missing or not as it was written")
        else:
            arrays = _measured(fit, units, part, observe, advance)
            checkpoint.save(part.name, arrays)
        results.append(arrays)
    return results


def n_steps(fit: Fit, n_units: int, checkpoint: Checkpoint) -> int:
    """Steps of the progress bar of `evaluate`."""
    return sum(part.work for part in fit.parts(n_units) if not checkpoint.has(part.name))


def verify(fit: Fit, units: Units, lsi: np.ndarray, drawn: Drawn, advance: Advance) -> Verification:
    """Checks the values `lsi` (n,) of units, under the first seed, of what was drawn of them against the slow way.

    A check that cannot be made loses no scores: it is told as failed.
    """
    try:
        return _checked(fit, units, lsi, drawn, advance)
    except (ConvergenceError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        return failed_check(drawn, fit.reference_name, first_line(error))


def _checked(fit: Fit, units: Units, lsi: np.ndarray, drawn: Drawn, advance: Advance) -> Verification:
    picked = drawn.positions
    some = units[torch.from_numpy(picked)] if isinstance(units, Tensor) else [units[position] for position in picked]
    found: list[Removed] = []
    for removed in fit.reference(some):
        found.append(removed)
        advance(len(removed.units))
    reference = fit.curvature.reference()
    errors = relative_errors(lsi[picked], _divergences(reference, found).total.numpy())
    exact = reference.exact(len(picked)) if reference.form != EXACT else None
    beyond = None if exact is None else relative_errors(lsi[picked], _divergences(exact, found).total.numpy())
    return summarise_errors(drawn, errors, fit.reference_name, beyond)


def _measured(fit: Fit, units: Units, part: Part, observe: Observation, advance: Advance) -> Arrays:
    """The arrays of one part."""
    columns: dict[str, np.ndarray] = {}
    by_epoch: dict[int, np.ndarray] = {}

    def write(chunks: Iterable[Removed]) -> None:
        for removed in chunks:
            terms = fit.curvature.divergence(removed)
            epoch = removed.epoch or 0
            pair = by_epoch.setdefault(epoch, np.full((2, part.stop - part.start), np.nan))
            pair[:, removed.positions] = torch.stack([terms.mean, terms.curvature]).cpu().numpy()
            for name, values in observe.compute(removed).items():
                array = values.cpu().numpy()
                whole = columns.setdefault(name, np.empty((part.stop - part.start, *array.shape[1:]), array.dtype))
                whole[removed.positions] = array
            columns[PARAMS] = removed.params.cpu().numpy()

    write(fit.remove(units, part, advance))
    broken = np.flatnonzero(~_are_divergences(by_epoch))
    if len(broken) > 0:
        write(fit.settle(units, part, broken))
    _require_divergences(by_epoch, units, part)
    epochs = sorted(by_epoch)
    mean, curvature = np.stack([by_epoch[epoch] for epoch in epochs], 1)
    return {EPOCHS: np.array(epochs), LSI_MEAN: mean, LSI_CURVATURE: curvature, **columns}


def _are_divergences(by_epoch: dict[int, np.ndarray]) -> np.ndarray:
    """Whether LSI is finite and not negative after every epoch (n,)."""
    totals = np.stack([pair.sum(0) for pair in by_epoch.values()])
    return (np.isfinite(totals) & (totals >= 0)).all(0)


def _require_divergences(by_epoch: dict[int, np.ndarray], units: Units, part: Part) -> None:
    """Refuses scores that are no divergence.

    Raises:
        ConvergenceError: with a sample and the remedy.
    """
    bad = np.flatnonzero(~_are_divergences(by_epoch))
    if len(bad) > 0:
        row = int(units[part.start + int(bad[0])][0])
        raise ConvergenceError(
            f"{len(bad)} of {part.stop - part.start} samples have no finite LSI, the first in row {row}: without them the "
            "model changes beyond what can be computed. Use a larger weight decay or prior precision (engine 'newton': "
            "refine='auto')."
        )


def _divergences(curvature: Curvature, found: list[Removed]) -> KLTerms:
    terms = [curvature.divergence(removed) for removed in found]
    return KLTerms(torch.cat([term.mean for term in terms]).cpu(), torch.cat([term.curvature for term in terms]).cpu())


def _first_wrong(arrays: Arrays, part: Part, observe: Observation) -> str | None:
    """The first array of a part that is not as it was written."""
    n = part.stop - part.start
    shapes = {LSI_MEAN: (part.n_epochs, n), LSI_CURVATURE: (part.n_epochs, n), EPOCHS: (part.n_epochs,)}
    shapes |= {name: (n, *rest) for name, rest in observe.shapes.items()}
    if PARAMS not in arrays:
        return PARAMS
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape or (name not in observe.gaps and np.isnan(arrays[name]).any()):
            return name
    return None
