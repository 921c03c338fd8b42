"""What the closed form will cost, and how far it goes beyond itself. Coefficients were measured on two cores of an AMD EPYC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lapsi.curvature.full import EXACT_FLOP, exact_flop
from lapsi.curvature.sketch import MOVING_SHARE, ROUGH_SHARE, is_worth_sketching, pass_flop
from lapsi.engines.base import Plan, Work, work_in
from lapsi.engines.newton.steps import PART_UNITS, chunk_bytes, samples_at_once
from lapsi.engines.removal.fit import kept_bytes
from lapsi.engines.removal.neighbours import NEIGHBOURS, SIMILARITY_BYTES
from lapsi.engines.removal.tolerance import Price
from lapsi.errors import MemoryLimitError
from lapsi.execution.cost import GIB, LIBRARIES_BYTES, Cost, Speed, memory_limit
from lapsi.problem.linear import BLOCK_BYTES, LinearProblem, sums_in_basis
from lapsi.settings.engine import AUTO, Newton
from lapsi.settings.model import NONE
from lapsi.settings.settings import Settings
from lapsi.training import leave_one_out
from lapsi.training.newton import FLOAT32_CONDITION, FLOAT32_FLOP, hessian_flop
from lapsi.training.regularization import STAGE, choice_flop, choice_notes

FIT_PASSES = 90  # evaluations of the objective that L-BFGS and Newton take
REFINE_FLOOR = 5e11  # below it every sample is converged
BUDGET_SHARE = 0.25  # of the cost of the rest, for refining to the tolerance
BUDGET_FLOOR = 2e12  # at least: half a minute on two cores
CONVERGING_STEPS = 3  # chord-Newton steps to the tolerance and the pass for the curvature
FITTING_PRODUCTS = 40  # of the Hessian and its inverse that fitting a sample anew takes
MATRIX_PASS = 10  # multiplications that take as long as reading one entry of a large matrix for one vector
SOLVE_SHARE = 0.35  # of a flop of the gradient that one of the product with the inverse takes, as large as that is
CORRECTION_OVERHEAD = 1e8
ENTRY_PRODUCTS = 150  # multiplications that take as long as one entry of a derivative, made before it is multiplied
SOLVING = 50  # K³ multiplications that small matrices of the K outputs take a sample, as slow as they are
TABLE_BYTES = 200  # of a row of the table
REFINE_STEPS = 4  # chord-Newton steps that converging takes
RATES = {"fit": 1 / 6, "hessian": 0.7, "curvature": 0.7, "leave-one-out": 0.6, "refine": 1.0, "verify": 0.5, STAGE: 0.6}
IN_FLOAT32 = ("curvature", "leave-one-out")


def spec_of(settings: Settings) -> Newton:
    """The options of the engine."""
    assert isinstance(settings.engine, Newton)
    return settings.engine


def plan_newton(work: Work, settings: Settings) -> Plan:
    """The plan of the closed form.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    streams = _streams(work, settings)
    flop = _flop(work, settings, streams)
    refine, n_refined, converges, budget = spec_of(settings).refine, 0, False, 0.0
    if refine == AUTO:
        to_the_end = work.n_units * REFINE_STEPS * _chord_step(work)
        converges = to_the_end <= REFINE_FLOOR
        budget = to_the_end if converges else max(BUDGET_FLOOR, BUDGET_SHARE * sum(flop.values()))
        cheapest = min(_price(work).correcting, _price(work).converging)
        n_refined = work.n_units if converges else min(work.n_units, int(budget / cheapest))
        flop["refine"] = budget if converges else n_refined * cheapest
    if settings.is_open:
        flop[STAGE] = choice_flop(*work.shape, settings)
    settles = converges or refine not in (AUTO, 0)
    if settings.curvature == "full":
        dense = exact_flop(work.n_samples, work.n_directions * work.n_coordinates, work.n_units)
        settles = settles and dense <= EXACT_FLOP
        flop["curvature"] = dense if settles else flop["curvature"]
    if settings.curvature == "kfac" and settles:
        streams, flop["curvature"] = False, 0.0
    details = {"n_refined": n_refined, "converges": converges, "budget": budget, "settles": settles, "streams": streams}
    cost = Cost(_peak_bytes(work, settings, not (settles or streams)), memory_limit(settings.execution), flop)
    n_params, rotated = work.n_outputs * work.n_coordinates, work.n_coordinates < work.n_features
    what = f"the span of {work.n_samples} samples" if rotated else f"{work.n_features - 1} features and bias"
    cost.require_memory(
        f"Its {n_params:,} parameters ({what} × {work.n_outputs} outputs) need matrices with "
        f"{n_params:,}² entries. Raise the memory limit if the machine has more, take engine 'local' (curvature 'diag' or "
        "'kfac'; memory linear in the outputs), or reduce the features first, e.g. sklearn.decomposition.PCA (memory falls "
        "with the square of the number of features)."
    )
    notes = [*work.notes(), _note(spec_of(settings), details)]
    if settings.curvature == "full":
        notes.append(("curvature of the others", "exact" if settles else "held (removal form)"))
    return Plan(
        cost,
        details,
        (*notes, *choice_notes(*work.shape, settings)),
        kept_bytes(work, PART_UNITS, work.n_directions, 0 if converges else n_refined),
    )


def continued(plan: Plan, kept: dict[str, Any]) -> Plan:
    """The plan of work that was begun with the details `kept`.

    Raises:
        MemoryLimitError: when what was held in memory then does not fit now.
    """
    if plan.details["streams"] and not kept["streams"]:
        raise MemoryLimitError(
            f"The run was begun with a matrix in memory that the limit of {plan.cost.limit_bytes / GIB:.1f} GiB does not allow "
            "now. Raise the limit, free memory, or start anew."
        )
    return replace(plan, details=kept)


def price_of(problem: LinearProblem) -> Price:
    """For the samples of a problem."""
    return _price(work_in(problem, 0))


def _price(work: Work) -> Price:
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    correcting = 2.0 * n * d + CORRECTION_OVERHEAD + 4.0 * NEIGHBOURS * d * k
    converging = CONVERGING_STEPS * _chord_step(work)
    product = _chord_step(work) + 2.0 * MATRIX_PASS * (work.n_directions * d) ** 2
    return Price(correcting, converging, converging + FITTING_PRODUCTS * product)


def _note(spec: Newton, details: dict[str, Any]) -> tuple[str, str]:
    """What a person is told of how far it goes beyond the closed form."""
    samples = f"{details['n_refined']:,} samples"
    if details["converges"] or spec.refine != AUTO:
        return ("converged", samples)
    return (f"refined to {spec.tolerance:g}", f"those estimated above it, up to about {samples} ({details['budget']:.1e} flop)")


def newton_seconds(plan: Plan, speed: Speed) -> float:
    """Estimated wall time."""
    return plan.cost.seconds(speed, RATES, IN_FLOAT32)


def _chord_step(work: Work) -> float:
    gradient = work.n_samples * work.n_outputs * (8.0 * work.n_coordinates + 2.0 * ENTRY_PRODUCTS)
    return gradient + SOLVE_SHARE * 2.0 * (work.n_directions * work.n_coordinates) ** 2


def _streams(work: Work, settings: Settings) -> bool:
    """Whether the first-order change of `kfac` is a pass over the data for every chunk, and no matrix is held for it.

    So where that matrix would take more memory than there is, or more time than the passes.
    """
    if settings.curvature != "kfac":
        return False
    too_large = _peak_bytes(work, settings, True) > memory_limit(settings.execution)
    held = _building_flop(work) + work.n_units * 2.0 * _derivative_entries(work)
    return too_large or work.n_units * _pass_flop(work) < held


def _pass_flop(work: Work) -> float:
    """Of the first-order change of `kfac` for a unit, by a pass."""
    return 2.0 * work.n_samples * work.n_outputs * (work.n_coordinates + work.n_outputs + ENTRY_PRODUCTS)


def _building_flop(work: Work) -> float:
    """Of the matrix that gives it for all units."""
    return 2.0 * work.n_samples * _derivative_entries(work) * (1 + ENTRY_PRODUCTS / work.n_coordinates)


def _derivative_entries(work: Work) -> int:
    """Of the matrix that gives it for all units, two flop each for a unit."""
    return work.n_outputs * (work.n_outputs + 1) // 2 * work.n_directions * work.n_coordinates


def _hessian_flop(work: Work) -> float:
    """Of the Hessian and its inverse."""
    n_params = work.n_directions * work.n_coordinates
    return hessian_flop(work.n_samples, work.n_coordinates, work.n_directions) + float(n_params) ** 3


def _flop(work: Work, settings: Settings, streams: bool) -> dict[str, float]:
    """By stage, without what refine="auto" adds."""
    n, d, k, f = work.n_samples, work.n_coordinates, work.n_outputs, work.n_directions
    free, refine, entries = f * d, spec_of(settings).refine, 2.0 * k * work.n_features * f * d  # of M, two flop each
    narrow = settings.execution.dtype != "float64"
    summed, diag, build_diag = hessian_flop(n, d, f), entries, n * entries
    if narrow and settings.curvature != "full" and summed >= FLOAT32_FLOP:
        summed /= 2  # in float32, told in flop of float64; as if the L2 term allowed it
    if narrow and is_worth_sketching(n, entries / 2):
        diag, build_diag = MOVING_SHARE * entries, ROUGH_SHARE * n * entries + pass_flop(n, k, d)
    kfac = (_pass_flop(work) if streams else 2.0 * _derivative_entries(work)) + 2.0 * k * d * (d + 9 * k)
    per_unit = {"diag": diag, "kfac": kfac, "full": 2.0 * free**2 + 4.0 * free * d * f}
    build_kfac = 0.0 if streams else _building_flop(work)
    build = {"diag": build_diag, "kfac": build_kfac, "full": 4.0 * free**3}
    steps = 0 if refine == AUTO else int(refine)
    return {
        "fit": 4.0 * FIT_PASSES * n * d * k,
        "hessian": summed + float(free) ** 3,
        "curvature": build[settings.curvature],
        "leave-one-out": work.n_units
        * (2.0 * free**2 + SOLVING * k**3 + per_unit[settings.curvature] + steps * _chord_step(work)),
        "verify": 5 * min(settings.execution.verify, work.n_units) * _chord_step(work),
    }


def _peak_bytes(work: Work, settings: Settings, holds_derivative: bool) -> int:
    n, d, k, f = work.n_samples, work.n_coordinates, work.n_outputs, work.n_directions
    free, itemsize = f * d, 4 if _is_narrow(work, settings) else 8
    copied = spec_of(settings).refine in (AUTO, 0) and work.input_bytes == 8
    inputs = (work.input_bytes + (itemsize if copied else 0)) * n * d
    inputs += work.span_bytes
    fit = _fit_bytes(work, 4 if _makes_float32(work, settings) else 8) + 4 * BLOCK_BYTES
    kfac = 8 * 12 * k**2 + (8 * _derivative_entries(work) if holds_derivative else 0)
    full = (8 + 4 * (8 if settings.execution.verify > 0 else itemsize)) * free**2  # made anew in float64 for the check
    held = {"diag": itemsize * free * k * work.n_features, "kfac": kfac, "full": full}
    found = 8 * k * work.n_units  # outputs without each sample
    states = itemsize * n * k if spec_of(settings).refine in (AUTO, 0) else 0  # of the neighbours
    scoring = itemsize * free**2 + held[settings.curvature] + _working_bytes(work, itemsize) + found
    scoring += 2 * 8 * free**2 if settings.curvature == "full" else 0
    choosing = 3 * 8 * free**2 + leave_one_out.CHUNK_BYTES + 2 * BLOCK_BYTES if settings.is_open else 0
    columns = found + max(8 * n * k, 4 * k * work.n_units + TABLE_BYTES * work.n_units)  # outputs of all; predictions, table
    return LIBRARIES_BYTES + inputs + max(fit, choosing, states + max(scoring, columns))


def _is_narrow(work: Work, settings: Settings) -> bool:
    """Whether the large products are sure to be in float32."""
    return settings.execution.dtype == "float32" or _makes_float32(work, settings)


def _makes_float32(work: Work, settings: Settings) -> bool:
    """Whether the Hessian is sure to be made and inverted in float32, whatever the data: λ_max ≤ N·D/2, λ_min ≥ N·w.

    So for classes, of features of variance 1, where the weight decay w is known.
    """
    if settings.execution.dtype == "float64" or settings.curvature == "full" or settings.is_open:
        return False
    if work.n_directions == work.n_outputs or settings.model.standardize == NONE:
        return False
    is_large = hessian_flop(work.n_samples, work.n_coordinates, work.n_directions) >= FLOAT32_FLOP
    return is_large and work.n_features <= 2 * settings.objective.decay * FLOAT32_CONDITION


def _fit_bytes(work: Work, itemsize: int) -> int:
    """Of the Hessian, which becomes its inverse; what it was summed in, which the allocator keeps; the inverse in float32."""
    d, k, f = work.n_coordinates, work.n_outputs, work.n_directions
    if not sums_in_basis(k, f, d):
        return 4 * itemsize * (k * d) ** 2
    tiles = 5 * f * (f + 1) * d**2 // 16
    return itemsize * ((f * d) ** 2 + tiles) + (4 * (f * d) ** 2 if itemsize == 8 else 0)


def _working_bytes(work: Work, itemsize: int) -> int:
    """Of a chunk of the closed form, and what the allocator keeps of it, or of similarities; and of blocks of rows."""
    k, d = work.n_outputs, work.n_coordinates
    n = min(samples_at_once(k, k * work.n_features, itemsize), PART_UNITS, work.n_units)
    held = chunk_bytes(n, work.n_directions, d, k, itemsize)
    return max(held + held // 3, SIMILARITY_BYTES) + 4 * BLOCK_BYTES
