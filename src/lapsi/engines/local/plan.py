"""What the closed form of many outputs will cost. Coefficients were measured on two cores of an AMD EPYC."""

from __future__ import annotations

from collections.abc import Iterator

from lapsi.curvature.blocks import DENSE, LOCAL
from lapsi.engines.base import Plan, Work
from lapsi.engines.local.steps import CHUNK_BYTES
from lapsi.execution.cost import LIBRARIES_BYTES, Cost, Speed, memory_limit
from lapsi.problem.linear import BLOCK_BYTES
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings

FIT_PASSES = 120  # gradients of L-BFGS and products of the Hessian
VARYING = 0.3  # of the samples in a block of the diagonal, as seen
COUPLED = 0.1  # of the samples in a block of two outputs, as seen
SUPPORT = 5  # outputs that a sample says something of, as seen
CHECK_PASSES = 40  # products of the Hessian and of its preconditioner that converging a sample takes
CONVERGE_FLOOR = 2e11  # below it every sample is converged
DOUBTFUL_SHARE = 0.25  # of the cost of the rest, for those of which the closed form is doubtful
RATES = {"fit": 0.25, "blocks": 0.6, "curvature": 0.6, "leave-one-out": 0.4, "converge": 0.4, "verify": 0.4}
IN_FLOAT32 = RATES.keys() - {"fit"}


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
    coupled, sample = min(spec.coupled, k), CHECK_PASSES * (4.0 * n * d * k + 2.0 * k * d * d)
    flop = {
        "fit": 4.0 * FIT_PASSES * n * d * k + 2.0 * VARYING * n * d * d * k,
        "blocks": 2.0 * n * d * d * (k * VARYING + _pairs(k, coupled) * COUPLED) + _inverse_flop(k, d, coupled),
        "curvature": 2.0 * n * d * work.n_features * k * _slopes(k, coupled) * COUPLED,
        "leave-one-out": 4.0 * work.n_units * min(SUPPORT, k) * coupled * d * d,
    }
    everyone = work.n_units * sample <= CONVERGE_FLOOR
    highest = work.n_units if everyone else min(spec.converge, work.n_units)
    doubtful = min(work.n_units - highest, int(DOUBTFUL_SHARE * sum(flop.values()) / sample))
    flop |= {"converge": (highest + doubtful) * sample, "verify": min(settings.execution.verify, work.n_units) * sample}
    cost = Cost(_peak_bytes(work, coupled), memory_limit(settings.execution), flop)
    cost.require_memory(
        f"Blocks of {d} features of the {coupled} outputs that are solved together take most of it. Raise the memory limit if "
        "the machine has more, lower --coupled, or reduce the features first, e.g. sklearn.decomposition.PCA."
    )
    details = {"coupled": coupled, "converging": {"highest": highest, "doubtful": doubtful}}
    return Plan(cost, details, (*work.notes(), *_notes(k, coupled, highest, doubtful)))


def _notes(k: int, coupled: int, highest: int, doubtful: int) -> Iterator[tuple[str, str]]:
    """What a person is told."""
    if coupled == k:
        yield "solved together", f"all {k:,} outputs, in float32"
    else:
        yield "solved together", f"each of {k:,} outputs with the {coupled - 1} most coupled to it"
    if highest > 0:
        yield "converged", f"{highest:,} samples"
    if doubtful > 0:
        yield "of high leverage", f"at most {doubtful:,} samples more are converged"
    yield "accuracy", "measured on the checked samples; medians of 1 to 5 % were seen, and single samples a quarter off"


def _pairs(k: int, coupled: int) -> float:
    """Blocks of two outputs that are summed, about."""
    return min(k * (k - 1) / 2, k * coupled**2 / 3)


def _slopes(k: int, coupled: int) -> int:
    """Blocks of the derivative of the diagonal for each output."""
    return min(coupled, (DENSE if coupled == k else LOCAL).slopes)


def _inverse_flop(k: int, d: int, coupled: int) -> float:
    if coupled == k:
        return float(k * d) ** 3
    return k * (float(coupled * d) ** 3 / 3 + 2 * float(coupled * d) ** 2 * d)


def _peak_bytes(work: Work, coupled: int) -> int:
    n, d, k = work.n_samples, work.n_coordinates, work.n_outputs
    matrices = 4.0 * d * d
    inverse = k * coupled * matrices
    live = 0 if coupled == k else min(k * (k + 1) // 2, k * coupled * 2) + 2 * coupled**2  # blocks of H at a time, at most
    held = (
        LIBRARIES_BYTES
        + (4 if work.input_bytes == 4 else 12) * n * d
        + 4 * 4 * n * k
        + k * matrices
        + k * _slopes(k, coupled) * 4 * d * work.n_features
        + inverse
        + work.span_bytes
    )
    building = live * matrices + 4.0 * 4 * n * k
    return int(held + max(building, 3 * CHUNK_BYTES + 8 * k * work.n_units) + 4 * BLOCK_BYTES)


def local_seconds(plan: Plan, speed: Speed) -> float:
    """Estimated wall time."""
    return plan.cost.seconds(speed, RATES, IN_FLOAT32)
