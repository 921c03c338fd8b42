"""What leaving groups out will cost, and by which matrix each is taken.

Coefficients were measured on two cores of an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from lapsi.curvature.full import exact_flop
from lapsi.engines.base import Plan, Work, parts_bytes
from lapsi.execution.cost import LIBRARIES_BYTES, Cost, flop_rate, memory_limit
from lapsi.problem.linear import BLOCK_BYTES
from lapsi.settings.settings import Settings

CHUNK_BYTES = 256 * 2**20
PART_UNITS = 256  # the last few of a part, whose steps shrink slowly, share their passes with none
LARGEST_SHARE = 0.1  # of all samples: the L2 strength that a low-rank update holds then costs a step or two
STEPS = 6  # chord steps to 1e-10, a pass each
CHECKS = 3  # groups that are fitted anew from nothing, at most
FIT_PASSES = 90  # evaluations of the objective that L-BFGS and Newton take
RATES = {"fit": 1 / 6, "hessian": 0.8, "steps": 0.7, "curvature": 0.6, "verify": 0.3}


def goes_by_update(work: Work, size: int) -> bool:
    """Whether a group of `size` samples is taken by a low-rank update, not by a factorisation of its own."""
    return size <= LARGEST_SHARE * work.n_samples and update_flop(work, size) < factor_flop(work, size)


def update_flop(work: Work, size: int) -> float:
    """Y, K, S (I − K S)⁻¹, and what they take in each step."""
    rank, free = size * work.n_directions, float(_n_params(work))
    making = 2.0 * size * free**2 + 2.0 * rank**2 * work.n_coordinates + 8 / 3 * rank**3
    return making + STEPS * (2 * free**2 + 2 * rank * free)


def factor_flop(work: Work, size: int) -> float:
    """The Hessian of the group, the factorisation, and its two triangles in each step."""
    free = float(_n_params(work))
    return 0.625 * size * free * (free + work.n_coordinates) + free**3 / 3 + STEPS * 2 * free**2


def chunks_of(work: Work, sizes: Sequence[int]) -> Iterator[tuple[bool, list[int]]]:
    """Whether they go by an update, and positions of units: like sizes together, within a fixed size of memory."""
    for by_update in (True, False):
        rest = [position for position, size in enumerate(sizes) if goes_by_update(work, size) == by_update]
        rest.sort(key=lambda position: -sizes[position])
        while rest:
            n = max(1, CHUNK_BYTES // unit_bytes(work, sizes[rest[0]], by_update))
            yield by_update, rest[:n]
            rest = rest[n:]


def unit_bytes(work: Work, size: int, by_update: bool) -> int:
    """What a group of `size` samples holds while it is taken."""
    rank, free = size * work.n_directions, _n_params(work)
    held = 2 * rank * free + 4 * rank**2 if by_update else free**2
    return 8 * (held + 3 * size * (work.n_coordinates + work.n_outputs**2) + 8 * work.n_outputs * work.n_coordinates)


def plan_groups(work: Work, sizes: Sequence[int], settings: Settings) -> Plan:
    """The plan of leaving out groups of some sizes.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    n_checks = min(settings.execution.verify, len(sizes), CHECKS)
    free, by_update = _n_params(work), [goes_by_update(work, size) for size in sizes]
    own = sum((update_flop if small else factor_flop)(work, size) for size, small in zip(sizes, by_update, strict=True))
    one_fit = 2 * FIT_PASSES * _pass_flop(work)
    hessian = 0.625 * work.n_samples * free * (free + work.n_coordinates) + free**3 / 3
    flop = {
        "fit": one_fit,
        "hessian": hessian + 2.0 * free**3,
        "steps": own + len(sizes) * STEPS * 4.0 * work.n_samples * free,
        "curvature": len(sizes) * _curvature_flop(work, settings.curvature),
        "verify": n_checks * (one_fit + 3 * hessian),
    }
    largest = max(unit_bytes(work, size, small) for size, small in zip(sizes, by_update, strict=True))
    cost = Cost(_peak_bytes(work, settings.curvature, max(largest, CHUNK_BYTES)), memory_limit(settings.execution), flop)
    cost.require_memory(
        f"Its {free:,} parameters need matrices with {free:,}² entries. Raise the memory limit if the machine has more, or "
        "reduce the features first, e.g. sklearn.decomposition.PCA (memory falls with the square of the number of features)."
    )
    kept = parts_bytes(0, len(sizes), -(-len(sizes) // PART_UNITS), free)
    return Plan(cost, {"by_update": sum(by_update), "by_factor": len(sizes) - sum(by_update)}, kept_bytes=kept)


def groups_seconds(plan: Plan, device: torch.device) -> float:
    """Estimated wall time on a device of this machine, from a short calibration."""
    rate = flop_rate(torch.float64, device)
    return sum(flop / (RATES[stage] * rate) for stage, flop in plan.cost.flop.items())


def _n_params(work: Work) -> int:
    return work.n_directions * work.n_coordinates


def _pass_flop(work: Work) -> float:
    """Of the outputs of all samples under one model."""
    return 2.0 * work.n_samples * work.n_coordinates * work.n_outputs


def _curvature_flop(work: Work, structure: str) -> float:
    """Of the divergence of one group."""
    if structure == "full":
        return exact_flop(work.n_samples, _n_params(work), 1)
    if structure == "kfac":
        return _pass_flop(work) + 2.0 * work.n_samples * work.n_outputs**2
    return 2 * _pass_flop(work)


def _peak_bytes(work: Work, structure: str, chunk_bytes: int) -> int:
    square = 8 * _n_params(work) ** 2
    held = {"diag": 0, "kfac": 4 * 8 * work.n_coordinates**2, "full": 6 * square}[structure]
    leaving = 3 * square + held + chunk_bytes
    return LIBRARIES_BYTES + 8 * work.n_samples * work.n_coordinates + 4 * BLOCK_BYTES + max(4 * square, leaving)
