"""What the closed form of many outputs will cost. Coefficients were measured on two cores of an AMD EPYC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lapsi.curvature.blocks import DENSE, LOCAL, SLOPE_ROWS
from lapsi.engines.base import Plan, Work, work_in
from lapsi.engines.local.curvature import hessian_slopes
from lapsi.engines.local.steps import CHUNK_BYTES, PART_UNITS
from lapsi.engines.removal.fit import kept_bytes
from lapsi.engines.removal.neighbours import NEIGHBOURS
from lapsi.engines.removal.tolerance import FEWEST_PROBES, Price
from lapsi.execution.cost import LIBRARIES_BYTES, Cost, Speed, memory_limit
from lapsi.problem.linear import BLOCK_BYTES, LinearProblem
from lapsi.settings.engine import ALL, Local
from lapsi.settings.settings import Settings
from lapsi.training.regularization import STAGE, choice_flop, choice_notes

FIT_PASSES = 120  # gradients of L-BFGS and products of the Hessian
VARYING = 0.3  # of the samples in a block of the diagonal, as seen
COUPLED = 0.1  # of the samples in a block of two outputs, as seen
BETTERED = 3  # outputs of the gradient from which a shift is bettered, as seen
SUPPORT = 8  # outputs of which a sample says something, as seen
CORRECTING_PACE = 6  # as often as products alone would take: rows and columns are gathered, and the closed form is taken again
CONVERGING_PASSES = 6  # gradients and changes of the curvature that converging a sample to the tolerance takes
REFIT_PASSES = 40  # products of the Hessian and of its preconditioner that fitting a sample anew takes
CONVERGE_FLOOR = 2e11  # below it every sample is converged
BUDGET_SHARE = 0.25  # of the cost of the rest, for refining to the tolerance
EXACT_SHARE = 0.7  # the same where all outputs are solved together
BUDGET_FLOOR = 1e12  # at least
EIGEN = 22  # K³ multiplications that the eigenvalues of a matrix of the K outputs take
EIGEN_POINTS = 3  # such matrices that `kfac` takes a sample, at most
DEAR_SHARE = 0.5  # of the work, above which it is told that kfac takes it
DIVERGENCE = "divergence of kfac"
RATES = {
    "fit": 0.25,
    "blocks": 0.6,
    "curvature": 0.6,
    "leave-one-out": 0.4,
    "refine": 0.4,
    "verify": 0.4,
    DIVERGENCE: 0.6,
    STAGE: 0.25,
}
IN_FLOAT32 = RATES.keys() - {"fit", DIVERGENCE, STAGE}


def spec_of(settings: Settings) -> Local:
    """The options of the engine."""
    assert isinstance(settings.engine, Local)
    return settings.engine


def plan_local(work: Work, settings: Settings) -> Plan:
    """The plan of the closed form for many outputs.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    n, d, k, spec = work.n_samples, work.n_coordinates, work.n_outputs, spec_of(settings)
    coupled = min(spec.coupled, k)
    price = _price(work, coupled)
    flop = {
        "fit": 4.0 * FIT_PASSES * n * d * k + 2.0 * VARYING * n * d * d * k,
        "blocks": 2.0 * n * d * d * (k * VARYING + _pairs(k, coupled) * COUPLED) + _inverse_flop(k, d, coupled),
        "curvature": _curvature_flop(work, settings.curvature, coupled),
        "leave-one-out": 4.0 * work.n_units * min(SUPPORT, k) * coupled * d * d,
    }
    if settings.curvature == "kfac":
        flop[DIVERGENCE] = work.n_units * _divergence_flop(work)
    converges = work.n_units * price.fitting <= CONVERGE_FLOOR
    budget, n_refined = 0.0, work.n_units
    if converges:
        flop["refine"] = work.n_units * price.fitting
    else:
        budget = max(BUDGET_FLOOR, (EXACT_SHARE if coupled == k else BUDGET_SHARE) * sum(flop.values()))
        cheapest = min(price.correcting, price.converging)
        n_refined = min(work.n_units, int(budget / cheapest))
        in_any_case = price.converging + (0.0 if coupled == k else price.fitting)  # steps of few outputs often do not arrive
        flop["refine"] = FEWEST_PROBES * price.converging + n_refined * cheapest + spec.highest(work.n_units) * in_any_case
    flop["verify"] = min(settings.execution.verify, work.n_units) * price.fitting
    if settings.is_open:
        flop[STAGE] = choice_flop(*work.shape, settings)
    cost = Cost(_peak_bytes(work, settings.curvature, coupled), memory_limit(settings.execution), flop)
    cost.require_memory(
        f"Blocks of {d} features of the {coupled} outputs that are solved together take most of it. Raise the memory limit if "
        "the machine has more, lower --coupled, or reduce the features first, e.g. sklearn.decomposition.PCA."
    )
    details = {"coupled": coupled, "n_refined": n_refined, "converges": converges, "budget": budget}
    notes = [*work.notes(), *_notes(k, spec, details), *choice_notes(*work.shape, settings)]
    if flop.get(DIVERGENCE, 0.0) > DEAR_SHARE * sum(flop.values()):
        notes.append(("curvature", f"most of the time is that of kfac: {k:,} × {k:,} matrices for each sample; diag has none"))
    n_again = 0 if converges else min(work.n_units, n_refined + spec.highest(work.n_units))
    return Plan(cost, details, tuple(notes), kept_bytes(work, PART_UNITS, k, n_again))


def price_of(problem: LinearProblem, coupled: int) -> Price:
    """For the samples of a problem of which so many outputs are solved together."""
    return _price(work_in(problem, 0), coupled)


def _price(work: Work, coupled: int) -> Price:
    """Neighbours do not better what the outputs that are left out spoil."""
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    a_pass = 4.0 * n * d * k
    solving = 2.0 * (min(BETTERED, k) + 2 * min(SUPPORT, k)) * k * d * d
    neighbours = CORRECTING_PACE * (2.0 * n * d + 4.0 * NEIGHBOURS * d * k + solving)
    fitting = REFIT_PASSES * (a_pass + 2.0 * k * d * d)
    return Price(neighbours if coupled == k else math.inf, CONVERGING_PASSES * a_pass, fitting)


def _notes(k: int, spec: Local, details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a person is told."""
    coupled, samples = details["coupled"], f"{details['n_refined']:,} samples"
    if coupled == k:
        yield "solved together", f"all {k:,} outputs, in float32"
    else:
        yield "solved together", f"each of {k:,} outputs with the {coupled - 1} most coupled to it"
    if details["converges"]:
        yield "converged", samples
        return
    if spec.converge == ALL:
        yield "converged", f"all samples, to {spec.tolerance:g}"
        return
    if spec.converge != 0:
        yield "converged", f"{spec.converge:,} samples of the highest LSI, to {spec.tolerance:g}"
    yield (
        f"refined to {spec.tolerance:g}",
        f"those of the largest estimated errors, about {samples} ({details['budget']:.1e} flop)",
    )
    yield (
        "accuracy",
        "estimated for each row and measured on the checked samples; medians of 1 to 5 % were seen without refining",
    )


def _pairs(k: int, coupled: int) -> float:
    """Blocks of two outputs that are summed, about."""
    return min(k * (k - 1) / 2, k * coupled**2 / 3)


def _slopes(k: int, coupled: int) -> int:
    """Blocks of the derivative of the diagonal for each output."""
    return min(coupled, (DENSE if coupled == k else LOCAL).slopes)


def _pairs_near(k: int, coupled: int) -> int:
    """Pairs of outputs that meet in the change of the output factor, for each output along which a shift moves."""
    near = hessian_slopes(k, (DENSE if coupled == k else LOCAL).hessian_slopes)
    return near * (near + 1) // 2


def _curvature_flop(work: Work, structure: str, coupled: int) -> float:
    """Of the posterior, and of how it moves to first order."""
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    if structure == "kfac":
        return 2.0 * n * d * (VARYING * k * _pairs_near(k, coupled) + d) + EIGEN * (float(d) ** 3 + float(k) ** 3)
    return 2.0 * n * d * work.n_features * k * _slopes(k, coupled) * COUPLED


def _divergence_flop(work: Work) -> float:
    """Of `kfac`, for a sample: its shift in the eigenvectors of both factors, and those of the output factor on the way."""
    d, k = float(work.n_coordinates), float(work.n_outputs)
    return 2 * k * d * (2 * k + d) + EIGEN_POINTS * (EIGEN * k**3 + 6 * k**2 * d)


def _inverse_flop(k: int, d: int, coupled: int) -> float:
    if coupled == k:
        return float(k * d) ** 3
    return k * (float(coupled * d) ** 3 / 3 + 2 * float(coupled * d) ** 2 * d)


def _peak_bytes(work: Work, structure: str, coupled: int) -> int:
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    matrices = 4.0 * d * d
    inverse = k * coupled * matrices
    live = 0 if coupled == k else min(k * (k + 1) // 2, k * coupled * 2) + 2 * coupled**2  # blocks of H at a time, at most
    held = (
        LIBRARIES_BYTES
        + (4 if work.input_bytes == 4 else 12) * n * d
        + 4 * 4 * n * k
        + k * matrices
        + _slope_bytes(work, structure, coupled)
        + inverse
        + work.span_bytes
    )
    building = live * matrices + 4.0 * 4 * n * k
    return int(held + max(building, 3 * CHUNK_BYTES + 8 * k * work.n_units) + 4 * BLOCK_BYTES)


def _slope_bytes(work: Work, structure: str, coupled: int) -> float:
    """Of how the curvature moves to first order; for `kfac` also what that is made of, and the factors."""
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    if structure == "kfac":
        making = 8 * min(SLOPE_ROWS, n) * (2 * _pairs_near(k, coupled) + k)
        return 4.0 * k * _pairs_near(k, coupled) * d + 8.0 * 6 * (d * d + k * k) + 4.0 * making
    return 4.0 * k * _slopes(k, coupled) * d * work.n_features


def local_seconds(plan: Plan, speed: Speed) -> float:
    """Estimated wall time."""
    return plan.cost.seconds(speed, RATES, IN_FLOAT32)
