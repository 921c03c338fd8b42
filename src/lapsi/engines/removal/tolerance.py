"""What is missing of the closed form, estimated for each row, and refining the rows of which too much is (docs/math.md, How
accurate it is)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.engines.removal.base import Removal, Step, removal_at, removed_of
from lapsi.engines.removal.chord import Approach, approach, one_step
from lapsi.engines.removal.neighbours import Neighbours, neighbours_of
from lapsi.engines.removal.streams import FLOOR, corrected, in_chunks, like_together
from lapsi.execution.progress import Advance
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, Removed

FEWEST_PROBES, MOST_PROBES = 64, 1024
PROBE_SHARE = 0.1  # of the budget
HIGHEST_SHARE = 0.05  # of the budget, for converging samples of the highest LSI: they move farthest, and are looked at first
STEEPEST = 100.0  # half of the relative change of LSI for one of the shift; more was not seen
SPREAD = 2.0  # of what one step leaves over the largest among the probes
NEARLY_FREE = 0.1  # of the price of converging
FLOAT32_TOLERANCE = 1e-4  # what is asked for less is converged in float64


@dataclass(frozen=True, slots=True)
class Price:
    """Of one sample, in flop: corrected by its neighbours; converged to the tolerance; fitted anew."""

    correcting: float
    converging: float
    fitting: float


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing of a shift, relative to it.

    Attributes:
        floor: however little the sample moves.
        closed, corrected: of the closed form, and of a corrected one, beyond that for each unit by which its outputs move.
        by_correction: of a corrected one, beyond the floor for each unit of the correction's relative size.
        by_square: after one chord step, for each unit of the square of its relative size; infinite where it is no square.
    """

    floor: float
    closed: float
    corrected: float
    by_correction: float
    by_square: float

    def of_closed(self, moved: Tensor) -> Tensor:
        """Of the closed form of samples whose outputs `moved` (n,)."""
        return self.closed * moved + self.floor

    def of_corrected(self, size: Tensor) -> Tensor:
        """Of samples whose correction has a relative `size` (n,)."""
        return self.by_correction * size + self.floor


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """How rows are refined; build it with `refinement_of`.

    Attributes:
        step: the closed form.
        curvature: of the posterior there.
        neighbours: what corrections take; None where converging a sample takes no longer than correcting it.
        missing: as estimated.
        tolerance: the relative error of LSI that is asked for.
        price: of each way, in flop.
        budget: what may be spent, in flop.
        highest: so many samples of the highest LSI come first, whatever that takes.
    """

    step: Step
    curvature: Curvature
    neighbours: Neighbours | None
    missing: Missing
    tolerance: float
    price: Price
    budget: float
    highest: int

    def to_correct(self, errors: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Positions (k,) of the closed forms that are corrected by their neighbours, that of the largest error first.

        Those above the tolerance of which that is expected to leave no more than the tolerance beyond the floor, or all where
        it costs next to nothing; of all samples the `errors` (n,) of LSI, and how far their outputs `moved` (n,). What it
        would take to converge the others is kept of the budget, half of it at most, and always a part for the highest LSI.
        """
        if self.neighbours is None:
            return np.arange(0)
        above, left = _largest_first(errors, self.tolerance), 2 * self.missing.corrected * moved
        hopeful = above[left[above] <= self.tolerance]
        others = (len(above) - len(hopeful)) * self.price.converging
        nearly_free = self.price.correcting <= NEARLY_FREE * self.price.converging
        kept = min(self.budget / 2, max(others, HIGHEST_SHARE * self.budget))
        n_corrected = int((self.budget - kept) / self.price.correcting)
        return (above if nearly_free else hopeful)[:n_corrected]

    def highest_left(self, errors: np.ndarray, lsi: np.ndarray, tried: Sequence[np.ndarray]) -> np.ndarray:
        """Positions (k,) of the samples of the highest `lsi` (n,) that are converged in any case, but for those `tried`."""
        highest = np.argsort(-lsi, kind="stable")[: self.highest]
        above = highest[errors[highest] > self.tolerance]
        return above[~np.isin(above, np.concatenate([np.arange(0), *tried]))]

    def others(self, errors: np.ndarray, lsi: np.ndarray, n_corrected: int) -> tuple[np.ndarray, int]:
        """Positions (k,) of other samples that are converged: a part of the highest `lsi` (n,), then the largest `errors` (n,).

        Also how many of them may be fitted anew, where their steps do not contract. What the budget does not reach stays.
        """
        above, by_lsi = _largest_first(errors, self.tolerance), np.argsort(-lsi, kind="stable")
        others = above[~np.isin(above, by_lsi[: self.highest])]
        n_first = self.highest + int(HIGHEST_SHARE * self.budget / self.price.converging)
        is_first = np.isin(others, by_lsi[:n_first])
        others = np.concatenate([others[is_first], others[~is_first]])
        spent = n_corrected * self.price.correcting if n_corrected > 0 else 0.0
        budget = max(0.0, self.budget - spent)
        others = others[: int(budget / self.price.converging)]
        return others, int((budget - len(others) * self.price.converging) / self.price.fitting)

    def corrected(self, rows: Tensor, positions: np.ndarray) -> Iterator[Removed]:
        """Samples at some positions (k,) of `rows` with the second-order term of their neighbours."""
        assert self.neighbours is not None
        for part in in_chunks(self.step, like_together(self.step, rows, positions), self.step.dtype):
            yield corrected(self.step, rows, part, self.neighbours, self.missing.of_corrected)

    def converged(self, rows: Tensor, positions: np.ndarray, n_fits: int, advance: Advance) -> Iterator[Removed]:
        """As far as the tolerance asks; of those whose steps do not contract `n_fits` are fitted anew, the others left out."""
        dtype = self.step.dtype if self.tolerance >= FLOAT32_TOLERANCE else torch.float64
        rounding = FLOOR if dtype == torch.float32 else 0.0
        for part in in_chunks(self.step, like_together(self.step, rows, positions), dtype):
            removal = removal_at(self.step, rows, part)
            tolerance = self.tolerance / 2 - rounding
            shift, remaining = approached(removal, self.curvature, tolerance, dtype, self.missing.by_square)
            settled = remaining.isfinite()
            fails = torch.nonzero(~settled).flatten()[:n_fits]
            settled[fails] = True
            found = shift[settled], remaining[settled] + rounding
            some = removal.part(settled)
            if len(fails) > 0:
                n_fits -= len(fails)
                found = some.refit(*found, tolerance)
            if bool(settled.any()):
                yield removed_of(some, part[settled.cpu().numpy()], found[0], CONVERGED, found[1])
            advance(len(part))


def refinement_of(
    step: Step, curvature: Curvature, tolerance: float, price: Price, budget: float, highest: int = 0
) -> Refinement:
    """Measures on samples drawn from the data what is missing; the same whichever samples are scored."""
    neighbours = neighbours_of(step) if price.correcting < price.converging else None
    n_probes = int(np.clip(PROBE_SHARE * budget / price.converging, FEWEST_PROBES, MOST_PROBES))
    missing = missing_of(step, curvature, neighbours, n_probes)
    return Refinement(step, curvature, neighbours, missing, tolerance, price, budget, highest)


def approached(
    removal: Removal, curvature: Curvature, tolerance: float, dtype: torch.dtype, by_square: float
) -> tuple[Tensor, Tensor]:
    """Shifts (n, F, D) so near that LSI misses at most twice `tolerance` relative to it, and half of what it misses (n,).

    `by_square`: as in `Missing`.
    """
    once, size = one_step(removal, dtype)
    shrinks = once.remaining.isfinite()
    shift, remaining = once.shift, torch.where(shrinks, SPREAD * by_square * size.square(), torch.inf)
    goes_on = shrinks & ~(remaining <= tolerance)
    if bool(goes_on.any()):
        shift[goes_on], remaining[goes_on] = _further(removal.part(goes_on), curvature, tolerance, dtype, once.part(goes_on))
    return shift, remaining


def _further(
    removal: Removal, curvature: Curvature, tolerance: float, dtype: torch.dtype, once: Approach
) -> tuple[Tensor, Tensor]:
    """`approached` of samples that one step does not bring there.

    LSI goes with the square of a shift, or steeper, where removing the sample moves the variance of others far. How steep is
    measured where it matters; those of which too much is missing then go on.
    """
    first = approach(removal, tolerance, dtype, once.shift, once.step)
    steepness = torch.full_like(first.remaining, STEEPEST)
    matters = first.remaining.isfinite() & (STEEPEST * first.remaining > tolerance)
    if bool(matters.any()):
        steepness[matters] = _steepness(removal.part(matters), curvature, first.part(matters))
    shift, remaining = first.shift, steepness * first.remaining
    goes_on = remaining.isfinite() & (remaining > tolerance)
    if bool(goes_on.any()):
        second = approach(removal.part(goes_on), tolerance / steepness[goes_on], dtype, shift[goes_on])
        shift[goes_on], remaining[goes_on] = second.shift, steepness[goes_on] * second.remaining
    return shift, remaining


def _steepness(removal: Removal, curvature: Curvature, came: Approach) -> Tensor:
    """What the last step changed LSI by over what it should (n,); at least 1."""
    positions = np.arange(len(came.shift))
    after, before = (
        curvature.divergence(removed_of(removal, positions, shift, CONVERGED)).total
        for shift in (came.shift, came.shift + came.step)
    )
    compared = removal.step.compared(came.step, came.shift)
    steepness = (before / after - 1).abs() / 2 / compared.of_lsi(compared.size)
    return steepness.nan_to_num(nan=1.0).clamp(min=1.0)


def missing_of(step: Step, curvature: Curvature, neighbours: Neighbours | None, n_probes: int) -> Missing:
    """The largest shares among samples drawn at random, by their divergence, which goes with the square of the shift.

    Of further samples one in n_probes + 1 is expected beyond them. What is missing goes with how far a sample moves. Where the
    step leaves something out, that is missing of samples that hardly move too: the most that those of the lower half miss is
    the floor, and what the others miss beyond it goes with how far they move.
    """
    n_samples = step.problem.n_samples
    drawn = torch.randperm(n_samples, generator=torch.Generator().manual_seed(0))[:n_probes].numpy()
    everyone = torch.arange(n_samples, device=step.problem.inputs.device)
    chunks = in_chunks(step, like_together(step, everyone, drawn), step.dtype)
    parts = [_probe(step, curvature, neighbours, everyone[torch.from_numpy(part)]) for part in chunks]
    found = Probe(*map(torch.cat, zip(*[astuple(part) for part in parts], strict=True)))
    return found.missing(step.leaves_out, step.is_whole)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Samples (n,) that tell what is missing: how far their outputs moved, the sizes of their correction and of their first
    chord step, and what the closed form, the corrected one and one chord step miss."""

    moved: Tensor
    correction: Tensor
    step: Tensor
    closed: Tensor
    corrected: Tensor
    once: Tensor

    def missing(self, leaves_out: bool, is_whole: bool) -> Missing:
        """The largest shares, by what the step is (`Step`)."""
        lower = self.moved <= self.moved.median()
        floor = float(torch.maximum(self.closed, self.corrected)[lower].max()) if leaves_out else 0.0
        closed, corrected = ((missing - floor).clamp(min=0.0) for missing in (self.closed, self.corrected))
        step = self.step.clamp(min=self.step.median()) if leaves_out else self.step
        return Missing(
            floor + FLOOR,
            _largest(closed, self.moved),
            _largest(corrected, self.moved),
            _largest(corrected, self.correction),
            _largest(self.once, step.square()) if is_whole else torch.inf,
        )


def _probe(step: Step, curvature: Curvature, neighbours: Neighbours | None, rows: Tensor) -> Probe:
    """Of samples `rows` (n,)."""
    removal, positions = step.removal(rows), np.arange(len(rows))
    shift = removal.newton_step()
    once, size = one_step(removal, shift.dtype)
    came = approach(removal, step.probe_tolerance, shift.dtype, once.shift, once.step)
    exact, remaining = removal.refit(came.shift, came.remaining, step.probe_tolerance)
    truth = curvature.divergence(removed_of(removal, positions, exact, CONVERGED)).total

    def missing(found: Tensor, way: str) -> Tensor:
        divergence = curvature.divergence(removed_of(removal, positions, found, way)).total
        return ((divergence / truth - 1).abs() / 2 - remaining - FLOOR).clamp(min=0.0)

    correction = torch.zeros_like(shift) if neighbours is None else neighbours.correction(removal, shift)
    return Probe(
        removed_of(removal, positions, shift, CLOSED_FORM).diagnostics["output_change"],
        step.compared(correction, shift).size,
        size,
        missing(shift, CLOSED_FORM),
        missing(shift - correction, CORRECTED),
        missing(once.shift, CONVERGED),
    )


def _largest(missing: Tensor, scale: Tensor) -> float:
    """The largest share of what is `missing` (n,) in its scale (n,); 0 where nothing moves."""
    return float((missing / scale).nan_to_num(nan=0.0, posinf=0.0).max())


def _largest_first(errors: np.ndarray, tolerance: float) -> np.ndarray:
    """Positions (k,) of the errors (n,) above the tolerance."""
    order = np.argsort(-errors, kind="stable")
    return order[: int((errors > tolerance).sum())]
