"""What the closed form of many outputs will cost. Coefficients were measured on two cores of an AMD EPYC."""

from __future__ import annotations

import torch

from lapsi.engines.base import Plan, Work
from lapsi.engines.local.steps import CHUNK_BYTES, SUPPORT
from lapsi.execution.cost import LIBRARIES_BYTES, Cost, flop_rate, memory_limit
from lapsi.problem.linear import BLOCK_BYTES
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings

FIT_PASSES = 120  # gradients of L-BFGS and products of the Hessian
VARYING = 0.3  # of the samples in a block of the diagonal, as seen
COUPLED = 0.1  # of the samples in a block of two outputs, as seen
CHECK_PASSES = 40
RATES = {"fit": 0.25, "blocks": 0.6, "curvature": 0.6, "leave-one-out": 0.4, "converge": 0.4, "verify": 0.4}
IN_FLOAT64 = ("fit",)


def spec_of(settings: Settings) -> Local:
    """The options of the engine."""
    assert isinstance(settings.engine, Local)
    return settings.engine


def plan_local(work: Work, settings: Settings) -> Plan:
    """The plan of the closed form for many outputs.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    n, d, k = work.n_samples, work.n_features, work.n_outputs
    nearest = min(spec_of(settings).coupled, k)
    matrices = 4.0 * d * d
    live = min(k * (k + 1) // 2, k * nearest * 2)  # blocks of H at a time, at most
    held = (k + 2 * k * nearest) * matrices
    building = (live + 2 * nearest**2) * matrices + 4.0 * 4 * n * k
    peak = LIBRARIES_BYTES + 12 * n * d + 4 * 4 * n * k + held + max(building, 3 * CHUNK_BYTES) + 4 * BLOCK_BYTES
    blocks = 2.0 * n * d * d * (k * VARYING + k * nearest**2 / 2 * COUPLED) + k * (
        (nearest * d) ** 3 / 3 + 2 * (nearest * d) ** 2 * d
    )
    support = min(SUPPORT, k)
    flop = {
        "fit": 4.0 * FIT_PASSES * n * d * k,
        "blocks": blocks,
        "curvature": 2.0 * n * d * d * k * nearest * COUPLED,
        "leave-one-out": work.n_units * 6.0 * support * nearest * d * d,
        "converge": CHECK_PASSES * min(spec_of(settings).converge, work.n_units) * 4.0 * n * d * k,
        "verify": CHECK_PASSES * min(settings.execution.verify, work.n_units) * 4.0 * n * d * k,
    }
    cost = Cost(int(peak), memory_limit(settings.execution), flop)
    cost.require_memory(
        f"Blocks of {d} features of the {nearest} outputs that are solved together take most of it. Raise the memory limit if "
        "the machine has more, lower --coupled, or reduce the features first, e.g. sklearn.decomposition.PCA."
    )
    notes = (("solved together", f"each of {k:,} outputs with the {nearest - 1} most coupled to it"),)
    return Plan(cost, {"coupled": nearest}, notes)


def local_seconds(plan: Plan, device: torch.device) -> float:
    """Estimated wall time on a device of this machine, from a short calibration."""
    slow, fast = flop_rate(torch.float64, device), flop_rate(torch.float32, device)
    rates = {stage: share * (slow if stage in IN_FLOAT64 else fast) for stage, share in RATES.items()}
    return sum(flop / rates[stage] for stage, flop in plan.cost.flop.items())
