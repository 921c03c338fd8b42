"""What a run will cost, told before it starts; refuses what does not fit into memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from lapsi.engines.newton.steps import CHUNK_BYTES, NEIGHBOURS
from lapsi.errors import MemoryLimitError
from lapsi.execution.memory import available_bytes
from lapsi.linalg.matmul import matmul, synchronize
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.mlp import MlpProbe
from lapsi.problem.linear import BLOCK_BYTES
from lapsi.settings.settings import Settings

LIBRARIES_BYTES = 400 * 2**20
AVAILABLE_SHARE = 0.8
FIT_PASSES = 90
REFINE_SHARE = 0.065
REFINE_FLOOR = 5e11
CORRECTION_OVERHEAD = 1e8
REFINE_STEPS = 4
WORKING_BYTES = 256 * 2**20
LEAST_MODELS, MOST_MODELS = 64, 256  # trained at once: enough for large products, few enough to lose at a kill
CHUNK_FLOP = 1e9
CHECKED_SHARE = 0.05
CALIBRATION_SIZE = 1024  # a product that runs would share out
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a run, estimated from its shape.

    Attributes:
        peak_bytes: memory at the peak.
        limit_bytes: what it may be.
        flop: floating point operations by stage.
    """

    peak_bytes: int
    limit_bytes: int
    flop: dict[str, float]

    def require_memory(self, reason: str) -> None:
        """Refuses a run that does not fit.

        Raises:
            MemoryLimitError: with the numbers and `reason`, which says what takes the memory and what to do.
        """
        if self.peak_bytes > self.limit_bytes:
            raise MemoryLimitError(
                f"This run needs about {self.peak_bytes / GIB:.1f} GiB at its peak, the limit is "
                f"{self.limit_bytes / GIB:.1f} GiB. {reason}"
            )


@dataclass(frozen=True, slots=True)
class NewtonPlan:
    """How the closed form will run.

    Attributes:
        cost: of the run.
        n_refined: samples that `refine="auto"` goes beyond the closed form for.
        converges: whether these are converged to their optimum (then they are all), or corrected by their neighbours.
        streams: whether the first-order change of `kfac` is a pass over the data for every chunk, where the matrix that holds
            it for all would take more memory than there is, or more time.
        device: where it will run.
    """

    cost: Cost
    n_refined: int
    converges: bool
    streams: bool
    device: str

    def seconds(self) -> float:
        """Estimated wall time on this machine, from a short calibration."""
        slow, fast = (_flop_rate(dtype, torch.device(self.device)) for dtype in (torch.float64, torch.float32))
        rates = {
            "fit": slow / 6,
            "hessian": 0.8 * slow,
            "curvature": 0.7 * fast,
            "leave-one-out": 0.6 * fast,
            "refine": slow,
            "verify": slow / 2,
        }
        return sum(flop / rates[stage] for stage, flop in self.cost.flop.items())


@dataclass(frozen=True, slots=True)
class RetrainPlan:
    """How retraining will run.

    Attributes:
        cost: of the run.
        chunk_size: models trained at once.
        n_parts: chunks times seeds, each kept when it is done.
    """

    cost: Cost
    chunk_size: int
    n_parts: int


def make_plan(n_samples: int, n_features: int, n_classes: int, n_scored: int, settings: Settings) -> NewtonPlan | RetrainPlan:
    """The plan of scoring `n_scored` of N samples with d features and C classes.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    make = _newton_plan if settings.engine == "newton" else _retrain_plan
    return make(n_samples, n_features, n_classes, n_scored, settings)


def n_checks(verify: int, n_scored: int) -> int:
    """How many of the retrained samples are checked: `verify`, but at most 2 or a twentieth of them."""
    return min(verify, n_scored, max(2, round(CHECKED_SHARE * n_scored)))


def _limit(settings: Settings) -> int:
    device = torch.device(settings.device or "cpu")
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    available = torch.cuda.mem_get_info(device)[0] if on_gpu else available_bytes()
    return int(settings.memory_limit or AVAILABLE_SHARE * available)


def _retrain_plan(n_samples: int, n_features: int, n_classes: int, n_scored: int, settings: Settings) -> RetrainPlan:
    recipe = settings.recipe
    assert recipe is not None
    probe = MlpProbe((n_features + 1, *settings.hidden, n_classes), ACTIVATIONS[settings.activation])
    n_params, itemsize = probe.n_params, 8 if settings.dtype == "float64" else 4
    data = (8 + itemsize) * n_samples * (n_features + 1)
    widest = max(width for shape in probe.shapes for width in shape)
    posterior = {"diag": 16 * n_params, "kfac": 96 * sum(o * o + i * i for o, i in probe.shapes), "full": 88 * n_params**2}
    fixed = LIBRARIES_BYTES + data + posterior[settings.curvature] + WORKING_BYTES
    states = {"sgd": 1, "adam": 3, "adamw": 3}[recipe.optimizer] + 6 + 3 * (recipe.sam_radius > 0)
    per_model = itemsize * states * n_params + 8 * 2 * n_params + 16 * itemsize * widest
    limit = _limit(settings)
    epoch = 2.0 * sum(2 * out * width for out, width in probe.shapes) * n_samples * (2 if recipe.sam_radius > 0 else 1)
    wanted = min(n_scored, MOST_MODELS, max(LEAST_MODELS, int(CHUNK_FLOP / epoch)))
    chunk_size = max(1, min(wanted, int((limit - fixed) / per_model)))
    flop = {"retrain": recipe.seeds * n_scored * recipe.epochs * epoch}
    n_snapshots = len(recipe.snapshots(settings.every))
    blocks = {"diag": 2.0 * n_params * (1 + n_classes), "kfac": 4.0 * sum(o * o * n_classes + i * i for o, i in probe.shapes)}
    blocks["full"] = 2.0 * n_classes * n_params**2 + 10.0 * n_params**3 / n_samples
    flop["posterior"] = recipe.seeds * n_scored * n_snapshots * n_samples * blocks[settings.curvature]
    flop["verify"] = (1 + n_checks(settings.verify, n_scored)) * recipe.epochs * epoch
    cost = Cost(fixed + chunk_size * per_model, limit, flop)
    size = posterior[settings.curvature] / GIB
    cost.require_memory(
        f"The data take {data / GIB:.1f} GiB, the {settings.curvature} posterior of {n_params:,} parameters {size:.1f} GiB. "
        "Raise the memory limit if the machine has more, use curvature 'diag', smaller hidden layers, or fewer features, "
        "e.g. by sklearn.decomposition.PCA."
    )
    return RetrainPlan(cost, chunk_size, recipe.seeds * -(-n_scored // chunk_size))


def _newton_plan(n_samples: int, n_features: int, n_classes: int, n_scored: int, settings: Settings) -> NewtonPlan:
    n, d, c = n_samples, n_features + 1, n_classes
    free = (c - 1) * d
    itemsize = 4 if settings.dtype == "float32" else 8
    inputs = 8 * n * d + (itemsize * n * d if settings.refine == "auto" else 0)
    fit = 4 * 8 * free**2 + 4 * BLOCK_BYTES
    held = {"diag": itemsize * free * c * d, "kfac": 8 * 12 * c**2, "full": (24 + 4 * itemsize) * free**2}
    scoring = itemsize * free**2 + held[settings.curvature] + 2 * CHUNK_BYTES
    peak, limit = LIBRARIES_BYTES + inputs + max(fit, scoring), _limit(settings)
    n_pairs, pass_flop = c * (c - 1) // 2, 2.0 * n * c * (d + c)
    table_flop = 2.0 * n_pairs * free
    table_peak = LIBRARIES_BYTES + inputs + max(fit, scoring + 8 * n_pairs * free)
    streams = settings.curvature == "kfac" and (table_peak > limit or n_scored * pass_flop < (n + n_scored) * table_flop)
    if settings.curvature == "kfac" and not streams:
        peak = table_peak
    first_order = pass_flop if streams else table_flop
    per_sample = {
        "diag": 2.0 * c * d * free,
        "kfac": first_order + 2.0 * c * d * (d + 9 * c),
        "full": 2.0 * free**2 + 4.0 * free * d * (c - 1),
    }
    build = {"diag": 2.0 * n * d * c * free, "kfac": 0.0 if streams else n * table_flop, "full": 4.0 * free**3}
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
    cost = Cost(peak, limit, flop)
    cost.require_memory(
        f"Its {c * d:,} parameters ({n_features} features and bias × {c} classes) need matrices with {c * d:,}² entries. "
        "Raise the memory limit if the machine has more, or reduce the features first, e.g. sklearn.decomposition.PCA (memory "
        "falls with the square of the number of features)."
    )
    return NewtonPlan(cost, n_refined, converges, streams, settings.device or "cpu")


def _flop_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Flop a second of the product that runs use, where they use it."""
    matrix = torch.ones(CALIBRATION_SIZE, CALIBRATION_SIZE, dtype=dtype, device=device)
    matmul(matrix, matrix)
    synchronize(device)
    start = time.perf_counter()
    for _ in range(3):
        matmul(matrix, matrix)
    synchronize(device)
    return 3 * 2 * CALIBRATION_SIZE**3 / (time.perf_counter() - start)
