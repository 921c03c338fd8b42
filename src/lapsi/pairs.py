"""Pairs that belong together, such as images and their captions: Laplace Sample Information of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lapsi.analysis.maps import principal_map
from lapsi.data.pairs import Pairs, make_pairs
from lapsi.data.targets import PairTargets
from lapsi.engines.evaluate import PARAMS
from lapsi.engines.identity import model_identity
from lapsi.engines.leave_out import leave_out
from lapsi.engines.pairs import PairPlan, pair_fit, plan_pairs, seconds_of, tell_cost
from lapsi.engines.retrain.engine import RetrainFit
from lapsi.engines.retrain.plan import begun_with
from lapsi.execution.backend import HERE, Backend, open_backend
from lapsi.execution.checkpoint import Arrays, Keep, open_checkpoint
from lapsi.execution.device import device_of, require_device
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.models.towers import Towers
from lapsi.problem.contrastive import ContrastiveProblem
from lapsi.problem.objective import Objective
from lapsi.results.evidence.choose import evidence_of
from lapsi.results.provenance import Provenance
from lapsi.results.scores import Scores
from lapsi.scoring import Known, Laid, assembled, check_indices, checked, require_free_names
from lapsi.settings.divergence import KL, required_order
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.pairs import PAIR_RECIPE, PairSettings, PairSpec
from lapsi.settings.recipe import Recipe

CHUNK_SIZE = "chunk_size"
OUTPUT_ROWS = 1024


def score_pairs(
    image_features: Any,
    text_features: Any,
    *,
    dimensions: int = 256,
    temperature: float = 0.5,
    standardize: str = "none",
    recipe: Recipe = PAIR_RECIPE,
    every: int | None = None,
    curvature: str = "diag",
    divergence: str = KL,
    order: float | None = None,
    objective: ObjectiveSpec | None = None,
    execution: Execution | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    indices: Any = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Scores:
    """Laplace Sample Information of every pair of a set, e.g. of images and their captions, by frozen features of both.

    Two linear projections into one space are trained so that each picture finds its caption among all, and each caption its
    picture (symmetric InfoNCE of cosines; paper, Section 4). LSI(i) = KL(q ‖ q₋ᵢ) in nats between the Laplace posteriors over
    both projections, trained with pair i and without it: leaving takes its row *and* its column out of the similarities. The
    curvature is that of the whole matrix of similarities (docs/math.md, Pairs).

    Args:
        image_features, text_features: (N, d) numbers of both sides; row i of one belongs to row i of the other.
        dimensions: of the space into which both are projected.
        temperature: by which cosines are divided.
        standardize: `"each"`, `"one"` or `"none"`, as in `ModelSpec`, for each side.
        recipe: how the projections are trained: all pairs at once by Adam, or a `Recipe`; with its batches a pair is told from
            the others of its batch alone.
        every: LSI is also kept after every so many epochs.
        curvature: structure of the posterior precision: `"diag"`, `"kfac"` or `"full"` (few parameters).
        divergence, order: of the posteriors: `"kl"`, or `"renyi"` of an order, as in `lapsi.score`.
        objective: weight decay and prior, an `ObjectiveSpec`. Cosines know no length: without one given there is no weight
            decay, and a prior precision of 1.
        execution: device, limits, checks and seed, an `Execution`.
        ids: (N,) unique identifiers; default: the row numbers.
        columns: what else is known of the pairs, (N,) each by name; `path` and `text` are shown in the report.
        indices: positions of the pairs to score (the others still train the model); default: all.
        checkpoint: directory where finished parts are kept; the same call goes on from there.
        progress: draw progress bars on standard error.

    Returns:
        `Scores`, one row a scored pair, with `lsi_image` and `lsi_text` of each projection alone, and leave-one-out ranks.

    Raises:
        InputError: the pairs or a setting cannot be used.
        MemoryLimitError: the run would not fit; raised before it starts.
        ConvergenceError: training diverged.
    """
    settings = PairSettings(
        PairSpec(dimensions, temperature, standardize),
        objective or ObjectiveSpec(),
        Retrain(recipe, every),
        curvature,
        execution or Execution(),
        divergence,
        required_order(divergence, order),
    )
    pairs = make_pairs(image_features, text_features, ids=ids, columns=columns)
    keep = None if checkpoint is None else Keep(Path(checkpoint), {})
    with open_backend(settings.execution) as backend:
        return score_pair_set(pairs, settings, check_indices(indices, len(pairs)), Stages(progress), keep, backend)


def score_pair_set(
    pairs: Pairs, settings: PairSettings, rows: np.ndarray, stages: Stages, keep: Keep | None = None, backend: Backend = HERE
) -> Scores:
    """Scores pairs `rows` (n,) of a set.

    Args:
        pairs, settings, rows: what is scored, and how.
        stages: shows the progress.
        keep: where finished parts are kept, and those that are there are gone on from.
        backend: leaves the pairs out.
    """
    require_device(settings.execution.device)
    if pairs.caution:
        stages.say(pairs.caution)
    evidence, targets = evidence_of(PairTargets.task), PairTargets(np.arange(len(pairs)))
    require_free_names(pairs.columns, targets)
    widths = pairs.widths[0] + 1, pairs.widths[1] + 1
    plan = plan_pairs(len(pairs), widths, settings, len(rows))
    if keep is not None:
        keep.require_room(plan.kept_bytes, 0)
    checkpoint = open_checkpoint(keep, model_identity({"data": pairs.digest()}, settings, rows), {CHUNK_SIZE: plan.chunk_size})
    try:
        chunk_size = begun_with(int(checkpoint.plan[CHUNK_SIZE]), plan.chunk_size, plan.cost.limit_bytes)
        with stages.stage("prepare"):
            problem = _problem(pairs, widths, settings)
            fit = pair_fit(problem, settings, chunk_size)
        tell_cost(fit, settings, plan, len(rows), stages)
        units = torch.as_tensor(rows, device=fit.problem.device)[:, None]
        by_seed = leave_out(fit, units, observation, checkpoint, stages, backend)
    finally:
        checkpoint.release()
    verification = checked(fit, settings.execution, units, by_seed[0], stages)
    details: dict[str, Any] = fit.record(torch.from_numpy(by_seed[0][PARAMS]))
    details |= evidence.agreement(targets, _outputs(fit, by_seed)) | pairs.record
    provenance = Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=settings.engine.name,
        device=settings.execution.device or "cpu",
        source=pairs.source,
        data_hash=pairs.digest(),
        n_samples=len(pairs),
        n_source=pairs.n_source or len(pairs),
        n_features=sum(pairs.widths),
        n_classes=targets.n_outputs,
        task=targets.task,
        seconds=dict(stages.seconds),
        verification=verification,
        plan={CHUNK_SIZE: chunk_size, "n_params": settings.pairs.dimensions * sum(widths)},
        **details,
    )
    on_map = principal_map(joint_embeddings(problem, torch.from_numpy(by_seed[0][PARAMS])))
    known = Known(pairs.ids, pairs.columns, rows, pairs.rows)
    return assembled(fit, targets, known, by_seed, provenance, Laid(on_map[rows]))


def plan_pair_set(pairs: Pairs, settings: PairSettings, n_units: int) -> tuple[PairPlan, float]:
    """What scoring `n_units` pairs of a set will cost, and the seconds that it will take; nothing is trained.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    require_device(settings.execution.device)
    widths = pairs.widths[0] + 1, pairs.widths[1] + 1
    plan = plan_pairs(len(pairs), widths, settings, n_units)
    fit = pair_fit(_problem(pairs, widths, settings), settings, plan.chunk_size)
    return plan, seconds_of(fit, settings, n_units)


def joint_embeddings(problem: ContrastiveProblem, params: Tensor) -> np.ndarray:
    """(N, 2 E) [û, v̂] of all pairs: where both sides point in the space into which params (P,) project them."""
    everyone, params = torch.arange(len(problem.first), device=problem.device), params.to(problem.device)
    sides = [problem.units(params, rows) for rows in everyone.split(OUTPUT_ROWS)]
    return torch.cat([torch.cat([first.value, second.value], 1) for first, second in sides]).numpy(force=True)


def _problem(pairs: Pairs, widths: tuple[int, int], settings: PairSettings) -> ContrastiveProblem:
    device, spec, chosen = device_of(settings.execution.device), settings.pairs, settings.objective
    first, second = (torch.from_numpy(side).to(device) for side in pairs.inputs(spec.standardize))
    objective = Objective(chosen.decay, chosen.prior_precision, chosen.removal)
    return ContrastiveProblem(first, second, Towers(widths, spec.dimensions), spec.temperature, objective)


def _outputs(fit: RetrainFit, by_seed: list[Arrays]) -> np.ndarray:
    """Of all pairs under the models with all of them, of all seeds together (N, 5)."""
    problem = fit.problem
    everyone = torch.arange(problem.n_samples, device=problem.device).split(OUTPUT_ROWS)
    models = [torch.from_numpy(arrays[PARAMS]).to(problem.device) for arrays in by_seed]
    found = [problem.combine(torch.stack([problem.outputs(params, rows) for params in models])) for rows in everyone]
    return torch.cat(found).numpy(force=True)
