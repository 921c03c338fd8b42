"""The one loop over what leaves: chunk of removals → curvature → divergence → columns → kept, part by part,
wherever a backend does them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import EXACT, Curvature
from lapsi.engines.base import Fit, Part, Units
from lapsi.errors import ConvergenceError, first_line
from lapsi.execution.backend import HERE, Backend, Task
from lapsi.execution.checkpoint import Arrays, Checkpoint
from lapsi.execution.progress import Advance
from lapsi.precision.base import Terms, joined
from lapsi.precision.divergence import Divergence
from lapsi.problem.removed import AT_OPTIMUM, Removed
from lapsi.results.verification import (
    Drawn,
    Verification,
    failed_check,
    relative_errors,
    summarise_errors,
    with_agreement,
)

LSI_MEAN, LSI_CURVATURE, EPOCHS, PARAMS = "lsi_mean", "lsi_curvature", "epochs", "params"
POSITIONS = "positions"
NONE = torch.ones(0, dtype=torch.bool)


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


@final
@dataclass(frozen=True, slots=True, eq=False)
class LeaveOut(Task[Part, Arrays]):
    """Leaving out the units of a part.

    Attributes:
        fit: the engine with its data.
        units: what leaves, one by one.
        observe: what is kept of a chunk beside its divergence.
    """

    fit: Fit
    units: Units
    observe: Observation

    def start(self) -> Callable[[Part, Advance], Arrays]:
        """The same everywhere: the fit is whole."""
        return self.measured

    def measured(self, part: Part, advance: Advance) -> Arrays:
        """What `evaluate` gives, of the units of a part; and `positions` (n,) of those that were found.

        Raises:
            ConvergenceError: when a divergence is none, and no later part may mend it.
        """
        columns: Arrays = {}
        by_epoch: dict[int, np.ndarray] = {}
        seen = np.zeros(len(part.positions), dtype=bool)
        for removed in self.fit.remove(self.units, part, advance):
            seen[removed.positions] = True
            terms = self.fit.curvature.divergence(removed)
            pair = by_epoch.setdefault(removed.epoch or 0, np.full((2, len(seen)), np.nan))
            pair[:, removed.positions] = torch.stack([terms.mean, terms.curvature]).cpu().numpy()
            for name, values in (self.observe.compute(removed) | dict(terms.alone)).items():
                array = values.cpu().numpy()
                columns.setdefault(name, np.empty((len(seen), *array.shape[1:]), array.dtype))[removed.positions] = array
            params = removed.params.cpu().numpy()
        if not seen.any():
            return {POSITIONS: part.positions[:0]}
        epochs = sorted(by_epoch)
        mean, curvature = np.stack([by_epoch[epoch] for epoch in epochs], 1)[..., seen]
        found = {name: values[seen] for name, values in columns.items()}
        found |= {POSITIONS: part.positions[seen], EPOCHS: np.array(epochs), LSI_MEAN: mean, LSI_CURVATURE: curvature}
        if part.is_final:
            _require_divergences(found, self.units, found[POSITIONS], self.fit.curvature.kind)
        return found | {PARAMS: params}


def evaluate(
    fit: Fit, units: Units, observe: Observation, checkpoint: Checkpoint, advance: Advance, backend: Backend = HERE
) -> list[Arrays]:
    """All the work, done or found in the checkpoint, part by part.

    Args:
        fit: the engine with its data.
        units: what leaves, one by one.
        observe: what is kept of a chunk beside its divergence.
        checkpoint: where finished parts are kept.
        advance: told the progress.
        backend: does the parts.

    Returns:
        For each seed `lsi_mean` and `lsi_curvature` (E, n), nats, after E epochs; what `observe` gives (n, …) after the last;
        `epochs` (E,), and `params` of the model with all samples.

    Raises:
        ConvergenceError: when a divergence is negative, or not finite where that of its kind always is.
    """
    task = LeaveOut(fit, units, observe)
    by_seed: dict[int, Arrays] = {}

    def do(parts: list[Part], told: Advance) -> None:
        missing = []
        for part in parts:
            if checkpoint.has(part.name):
                _merge(by_seed, part, _kept(checkpoint, part, observe), len(units))
                told(part.work)
            else:
                missing.append(part)
        for part, arrays in backend.map(task, missing, advance):
            checkpoint.save(part.name, arrays)
            _merge(by_seed, part, arrays, len(units))

    parts, done = fit.parts(len(units)), []
    do(parts, _nobody)
    while parts:
        done += parts
        parts = fit.further(done, by_seed[0], advance)
        do(parts, advance)
    kind = fit.curvature.kind
    broken = np.flatnonzero(~_are_divergences(by_seed[0], kind))
    do(fit.mending(broken), _nobody)
    _require_divergences(by_seed[0], units, np.arange(len(units)), kind)
    return [by_seed[seed] for seed in sorted(by_seed)]


def n_steps(fit: Fit, n_units: int, checkpoint: Checkpoint) -> int:
    """Steps of the progress bar of `evaluate`."""
    first = sum(part.work for part in fit.parts(n_units) if not checkpoint.has(part.name))
    return first + fit.later_steps(n_units)


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
    truth = _divergences(reference, found).total.numpy()
    exact = reference.exact(len(picked)) if reference.form != EXACT else None
    beyond = None if exact is None else _divergences(exact, found).total.numpy()
    told = summarise_errors(
        drawn,
        relative_errors(lsi[picked], truth),
        fit.reference_name,
        None if beyond is None else relative_errors(lsi[picked], beyond),
    )
    told = replace(told, n_unfinished=sum(int((~removed.diagnostics.get(AT_OPTIMUM, NONE)).sum()) for removed in found))
    return with_agreement(told, lsi[picked], truth if beyond is None else beyond)


def _kept(checkpoint: Checkpoint, part: Part, observe: Observation) -> Arrays:
    """A part that was finished before."""
    arrays = checkpoint.load(part.name)
    wrong = _first_wrong(arrays, part, observe)
    if wrong is not None:
        raise checkpoint.damaged(part.name, f"{wrong} is missing or not as it was written")
    return arrays


def _merge(by_seed: dict[int, Arrays], part: Part, arrays: Arrays, n_units: int) -> None:
    """Writes what was found of some units over what was known of them."""
    positions, whole = arrays[POSITIONS], by_seed.setdefault(part.seed, {})
    for name, values in arrays.items():
        if name in (EPOCHS, PARAMS):
            whole.setdefault(name, values.copy())  # what comes from elsewhere cannot be written to
        elif name in (LSI_MEAN, LSI_CURVATURE):
            whole.setdefault(name, np.empty((len(values), n_units)))[:, positions] = values
        elif name != POSITIONS:
            whole.setdefault(name, np.empty((n_units, *values.shape[1:]), values.dtype))[positions] = values


def _nobody(_: int) -> None:
    """Is told nothing."""


def _are_divergences(found: Arrays, kind: Divergence) -> np.ndarray:
    """Whether LSI is a number, not negative, and finite where it always is, after every epoch (n,)."""
    totals = found[LSI_MEAN] + found[LSI_CURVATURE]
    return ((totals >= 0) & (kind.may_be_infinite | np.isfinite(totals))).all(0)


def _require_divergences(found: Arrays, units: Units, positions: np.ndarray, kind: Divergence) -> None:
    """Refuses scores, of the units at some positions (n,), that are no divergence.

    Raises:
        ConvergenceError: with a sample and the remedy.
    """
    bad = np.flatnonzero(~_are_divergences(found, kind))
    if len(bad) > 0:
        row = int(units[int(positions[bad[0]])][0])
        raise ConvergenceError(
            f"{len(bad)} of {len(positions)} samples have no finite LSI, the first in row {row}: without them the "
            "model changes beyond what can be computed. Use a larger weight decay or prior precision (engine 'newton': "
            "refine='auto')."
        )


def _divergences(curvature: Curvature, found: list[Removed]) -> Terms:
    terms = joined([curvature.divergence(removed) for removed in found])
    return Terms(terms.mean.cpu(), terms.curvature.cpu())


def _first_wrong(arrays: Arrays, part: Part, observe: Observation) -> str | None:
    """The first array of a part that is not as it was written."""
    positions = arrays.get(POSITIONS, np.arange(0))
    if not np.isin(positions, part.positions).all() or (part.is_first and len(positions) < len(part.positions)):
        return POSITIONS
    n = len(positions)
    if n == 0 and not part.is_first:
        return None
    shapes = {LSI_MEAN: (part.n_epochs, n), LSI_CURVATURE: (part.n_epochs, n), EPOCHS: (part.n_epochs,)}
    shapes |= {name: (n, *rest) for name, rest in observe.shapes.items()}
    if PARAMS not in arrays:
        return PARAMS
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape or (name not in observe.gaps and np.isnan(arrays[name]).any()):
            return name
    return None
