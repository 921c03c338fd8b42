"""The engine of pairs: the projections are trained anew without each pair, many models at once, by a recipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lapsi.curvature.contrastive import ContrastiveCurvature, contrastive_posterior
from lapsi.engines.base import parts_bytes
from lapsi.engines.retrain.engine import RetrainFit
from lapsi.engines.retrain.pairs import pair_bytes, pair_trainer
from lapsi.engines.retrain.plan import n_checks
from lapsi.execution.cost import GIB, LIBRARIES_BYTES, Cost, duration, memory_limit
from lapsi.execution.device import synchronize
from lapsi.execution.progress import Stages
from lapsi.precision.divergence import of_order
from lapsi.problem.contrastive import N_OUTPUTS, ContrastiveProblem
from lapsi.settings.pairs import PairSettings
from lapsi.training.pair import Pair
from lapsi.training.sampling import batches, steps_per_epoch

PART_MODELS = 32  # trained at once: the one with all pairs costs little beside them, and a kill loses minutes
STATES = 8  # params, moments and gradients of a model
POSTERIOR_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Cost of a run on pairs.

    Attributes:
        cost: memory; without flop, which a trial tells.
        chunk_size: models trained at once.
        kept_bytes: of all finished parts on the disk, about.
    """

    cost: Cost
    chunk_size: int
    kept_bytes: int


def plan_pairs(n_samples: int, widths: tuple[int, int], settings: PairSettings, n_units: int) -> PairPlan:
    """Of `n_units` pairs that leave, where sides have so many features, the constant 1 included.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    recipe, spec = settings.engine.recipe, settings.pairs
    itemsize, n_params = 8 if settings.execution.dtype == "float64" else 4, spec.dimensions * sum(widths)
    n_rows = min(recipe.batch_size or n_samples, n_samples)
    data = (8 + itemsize) * n_samples * sum(widths)
    batch = pair_bytes(spec.dimensions, n_rows, itemsize)
    posterior = 8 * 8 * n_samples**2 + POSTERIOR_BYTES
    posterior += {"diag": 8 * n_params * 4, "kfac": 8 * 8 * (sum(width**2 for width in widths)), "full": 8 * 8 * n_params**2}[
        settings.curvature
    ]
    limit = memory_limit(settings.execution)
    fixed, per_model = LIBRARIES_BYTES + data + max(batch, posterior), itemsize * STATES * n_params
    chunk_size = max(1, min(PART_MODELS, n_units, int((limit - fixed) / per_model)))
    cost = Cost(fixed + chunk_size * per_model, limit, {})
    cost.require_memory(
        f"All {n_samples:,} pairs are compared with each other ({n_samples:,}² similarities), and the {settings.curvature} "
        f"posterior of {n_params:,} parameters takes {posterior / GIB:.1f} GiB. Raise the memory limit if the machine has "
        "more, take fewer dimensions or pairs, or curvature 'diag'."
    )
    n_epochs = len(recipe.snapshots(settings.engine.every))
    n_parts = recipe.seeds * -(-n_units // chunk_size)
    kept = parts_bytes(N_OUTPUTS, recipe.seeds * n_units, n_parts, n_params, n_epochs)
    return PairPlan(cost, chunk_size, kept)


def pair_fit(problem: ContrastiveProblem, settings: PairSettings, chunk_size: int) -> RetrainFit:
    """Everything that training without pairs takes."""
    trainer = pair_trainer(problem, getattr(torch, settings.execution.dtype or "float32"), settings.engine.recipe)
    curvature = ContrastiveCurvature(problem, settings.curvature, of_order(settings.order))
    return RetrainFit(trainer, curvature, settings.engine, chunk_size, settings.execution.seed)


def tell_cost(fit: RetrainFit, settings: PairSettings, plan: PairPlan, n_units: int, stages: Stages) -> None:
    """What the run will take, in a line, where progress is shown."""
    if not stages.show:
        return
    time_told = f"{duration(seconds_of(fit, settings, n_units))} ({n_units:,} models, {settings.engine.recipe.epochs:,} epochs)"
    stages.say(f"About {time_told}, {plan.cost.peak_bytes / GIB:.1f} GiB at the peak.")


def seconds_of(fit: RetrainFit, settings: PairSettings, n_units: int) -> float:
    """What leaving `n_units` pairs out will take, about: from one step of one model and one posterior."""
    problem, recipe = fit.problem, settings.engine.recipe
    assert isinstance(problem, ContrastiveProblem)
    params = problem.initial(settings.execution.seed)
    batch = next(batches(recipe, problem.n_samples, np.random.default_rng(0), problem.device))
    one = Pair(params, torch.zeros(1, len(params), dtype=fit.trainer.losses.dtype, device=params.device))
    loss = fit.trainer.losses.without_each(torch.tensor([0], device=params.device))
    step = min(_seconds(problem, lambda: loss(one, batch)) for _ in range(2))
    posterior = _seconds(problem, lambda: contrastive_posterior(problem, params, settings.curvature))
    steps = recipe.epochs * steps_per_epoch(recipe, problem.n_samples) * (2 if recipe.sam_radius > 0 else 1)
    n_models = recipe.seeds * n_units + 1 + n_checks(settings.execution.verify, n_units)
    snapshots = recipe.seeds * n_units * len(recipe.snapshots(settings.engine.every))
    return n_models * steps * step + snapshots * posterior


def _seconds(problem: ContrastiveProblem, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    synchronize(problem.device)
    return time.perf_counter() - start
