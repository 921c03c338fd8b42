"""What a run will cost, told before it starts; refuses what does not fit into memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import torch

from lapsi.errors import MemoryLimitError
from lapsi.loo.newton import CHUNK_BYTES, NEIGHBOURS
from lapsi.products import matmul
from lapsi.settings import Settings

LIBRARIES_BYTES = 400 * 2**20
AVAILABLE_SHARE = 0.8
FIT_PASSES = 90
REFINE_SHARE = 0.065
REFINE_FLOOR = 5e11
CORRECTION_OVERHEAD = 1e8
REFINE_STEPS = 4
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Plan:
    """Cost of a run, estimated from its shape.

    Attributes:
        engine: the engine that will run.
        peak_bytes: memory at the peak.
        limit_bytes: what it may be.
        flop: floating point operations by stage.
        n_refined: samples that `refine="auto"` goes beyond the closed form for.
        converges: whether these are converged to their optimum (then they are all), or corrected by their neighbours.
    """

    engine: str
    peak_bytes: int
    limit_bytes: int
    flop: dict[str, float]
    n_refined: int
    converges: bool

    def seconds(self) -> float:
        """Estimated wall time on this machine, from a short calibration."""
        slow, fast = _flop_rate(torch.float64), _flop_rate(torch.float32)
        rates = {
            "fit": slow / 6,
            "hessian": 0.8 * slow,
            "curvature": 0.7 * fast,
            "leave-one-out": 0.6 * fast,
            "refine": slow,
            "verify": slow / 2,
        }
        return sum(flop / rates[stage] for stage, flop in self.flop.items())

    def require_memory(self, n_features: int, n_classes: int) -> None:
        """Refuses a run that does not fit.

        Raises:
            MemoryLimitError: with the numbers and the way out.
        """
        if self.peak_bytes <= self.limit_bytes:
            return
        n_params = n_features * n_classes
        raise MemoryLimitError(
            f"This run needs about {self.peak_bytes / GIB:.1f} GiB at its peak, the limit is {self.limit_bytes / GIB:.1f} "
            f"GiB. Its {n_params:,} parameters ({n_features} features and bias × {n_classes} classes) need matrices with "
            f"{n_params:,}² entries. Raise the memory limit if the machine has more, or reduce the features first, "
            "e.g. sklearn.decomposition.PCA (memory falls with the square of the number of features)."
        )


def make_plan(n_samples: int, n_features: int, n_classes: int, n_scored: int, settings: Settings) -> Plan:
    """The plan of scoring `n_scored` of N samples with d features and C classes."""
    n, d, c = n_samples, n_features + 1, n_classes
    free = (c - 1) * d
    itemsize = 4 if settings.dtype == "float32" else 8
    inputs = 8 * n * d
    fit = 4 * 8 * free**2
    held = {"diag": itemsize * free * c * d, "kfac": 8 * c * c * free, "full": (8 + 4 * itemsize) * free**2}
    inputs += itemsize * n * d if settings.refine == "auto" else 0
    scoring = itemsize * free**2 + held[settings.curvature] + 2 * CHUNK_BYTES
    peak = LIBRARIES_BYTES + inputs + max(fit, scoring + (2 * 8 * free**2 if settings.curvature == "full" else 0))
    limit = settings.memory_limit or int(AVAILABLE_SHARE * psutil.virtual_memory().available)
    per_sample = {"diag": 2.0 * c * d * free, "kfac": 2.0 * d * c * d, "full": 2.0 * free**2 + 4.0 * free * d * (c - 1)}
    build = {"diag": 2.0 * n * d * c * free, "kfac": 2.0 * n * d * c**3, "full": 4.0 * free**3}
    step = 8.0 * n * d * c
    steps = 0 if settings.refine == "auto" else int(settings.refine)
    flop = {
        "fit": 4.0 * FIT_PASSES * n * d * c,
        "hessian": 0.625 * n * free * (free + d) + 2.0 * free**3,
        "curvature": build[settings.curvature],
        "leave-one-out": n_scored * (2.0 * free**2 + per_sample[settings.curvature] + steps * step),
        "verify": 5 * min(settings.verify, n_scored) * step,
    }
    n_refined, converges = 0, False
    if settings.refine == "auto":
        converges = n_scored * REFINE_STEPS * step <= REFINE_FLOOR
        correction = 2.0 * n * d + 4.0 * NEIGHBOURS * d * c + CORRECTION_OVERHEAD
        budget = REFINE_SHARE * sum(flop.values())
        n_refined = n_scored if converges else min(n_scored, int(budget / correction))
        flop["refine"] = n_refined * (REFINE_STEPS * step if converges else correction)
    return Plan("newton", peak, limit, flop, n_refined, converges)


def _flop_rate(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    matmul(matrix, matrix)
    start = time.perf_counter()
    for _ in range(3):
        matmul(matrix, matrix)
    return 3 * 2 * 768**3 / (time.perf_counter() - start)
