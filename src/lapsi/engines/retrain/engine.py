"""The paper's own way: the probe is trained anew without each sample, many models at once, and kept part by part."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lapsi.curvature.ggn import laplace_posterior
from lapsi.data.dataset import Dataset, Standardizer, fit_standardizer
from lapsi.engines.choose import GIB, RetrainPlan, n_checks
from lapsi.engines.retrain.steps import RetrainEngine, Snapshot
from lapsi.engines.verification import draw_rows, verify_retraining
from lapsi.errors import ConvergenceError, MemoryLimitError
from lapsi.execution.checkpoint import Arrays, Checkpoint, Keep, damaged, open_checkpoint
from lapsi.execution.progress import Stages
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.fitted import Evidence, FittedProbe, mean_log_probabilities, require_scores
from lapsi.models.mlp import MlpProbe
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings
from lapsi.training.sampling import steps_per_epoch

CALIBRATION_ROWS = 8192
ROUTINE = ("memory_limit", "verify")  # settings that change no part, and may change when a run goes on
REMEDY = "Use a larger weight decay or prior precision, or curvature 'diag'."


def retraining(
    dataset: Dataset, settings: Settings, plan: RetrainPlan, rows: np.ndarray, stages: Stages, keep: Keep | None
) -> Evidence:
    """Scores samples `rows` (n,) by training without each of them (MATH §5).

    Args:
        dataset, settings, plan, rows, stages: as everywhere.
        keep: where finished parts are kept and found again; None keeps nothing.

    Raises:
        ConvergenceError: when training diverges.
        InputError: when the checkpoint belongs to other data or settings.
    """
    checkpoint = open_checkpoint(keep, identity(dataset, settings, rows), {"chunk_size": plan.chunk_size})
    try:
        return _retrained(dataset, settings, plan, rows, stages, checkpoint)
    finally:
        checkpoint.release()


def _retrained(
    dataset: Dataset, settings: Settings, plan: RetrainPlan, rows: np.ndarray, stages: Stages, checkpoint: Checkpoint
) -> Evidence:
    recipe = _recipe(settings)
    _require_room(checkpoint, plan)
    with stages.stage("prepare"):
        standardizer, engine = _engine(dataset, settings)
    chunks = np.array_split(rows, -(-len(rows) // checkpoint.plan["chunk_size"]))
    work = [
        Part(engine, settings, chunk, number, position)
        for number in range(recipe.seeds)
        for position, chunk in enumerate(chunks)
    ]
    todo = sum(not checkpoint.has(part.name) for part in work)
    with stages.stage("retrain", todo * recipe.epochs) as advance:
        results = [_result(part, checkpoint, advance) for part in work]
    by_seed = [_joined(results[start : start + len(chunks)]) for start in range(0, len(work), len(chunks))]
    params = np.stack([checkpoint.load(f"seed{number}-model")["params"] for number in range(recipe.seeds)])
    verification = _verified(engine, settings, rows, by_seed[0], stages)
    record = {
        "dtype": str(engine.inputs.dtype).removeprefix("torch."),
        "grad_norm": _grad_norm(engine.problem, torch.from_numpy(params[0]).to(engine.inputs.device)),
        "n_iterations": recipe.epochs * steps_per_epoch(recipe, dataset.n_samples),
        "verification": verification,
    }
    model = FittedProbe(standardizer, engine.problem.probe, params)
    return _evidence(by_seed, model, settings.every is not None, record)


def identity(dataset: Dataset, settings: Settings, rows: np.ndarray) -> dict[str, Any]:
    """What must be equal for the parts of a run to belong together."""
    kept = {name: value for name, value in settings.to_dict().items() if name not in ROUTINE}
    digest = hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=16).hexdigest()
    return {"version": version("lapsi"), "data": dataset.digest(), "n_scored": len(rows), "rows": digest, "settings": kept}


def calibrated_seconds(dataset: Dataset, settings: Settings, plan: RetrainPlan, n_scored: int) -> float:
    """Wall time of the whole run, from two epochs of one chunk on the first rows of the data."""
    recipe = _recipe(settings)
    n_rows = min(dataset.n_samples, CALIBRATION_ROWS)
    first = replace(dataset, features=dataset.features[:n_rows], labels=dataset.labels[:n_rows], ids=dataset.ids[:n_rows])
    _, engine = _engine(first, replace(settings, recipe=replace(recipe, epochs=2, schedule="constant"), every=None))
    indices = torch.arange(min(plan.chunk_size, n_scored, n_rows), device=engine.inputs.device)
    ticks: list[float] = []
    (last,) = engine(indices, 0, {2}, lambda _: ticks.append(time.perf_counter()))
    ticks.append(time.perf_counter())
    whole = laplace_posterior(engine.problem, last.params, settings.curvature)
    ticks.append(time.perf_counter())
    whole.kl_to(torch.zeros_like(last.params), whole)
    ticks.append(time.perf_counter())
    epoch, _, posterior, divergence = np.diff(ticks)
    start = time.perf_counter()
    engine.alone(0, 0)
    alone = (time.perf_counter() - start) / 2
    growth = dataset.n_samples / n_rows
    passes = recipe.seeds * n_scored * recipe.epochs * epoch / len(indices)
    snapshots = recipe.seeds * n_scored * len(recipe.snapshots(settings.every))
    checks = 0 if settings.verify == 0 else (1 + n_checks(settings.verify, n_scored)) * recipe.epochs * alone
    return float(growth * (passes + snapshots * posterior + checks) + snapshots * divergence)


def _recipe(settings: Settings) -> Recipe:
    assert settings.recipe is not None
    return settings.recipe


def _engine(dataset: Dataset, settings: Settings) -> tuple[Standardizer, RetrainEngine]:
    device, recipe = torch.device(settings.device or "cpu"), _recipe(settings)
    standardizer = fit_standardizer(dataset.features, settings.standardize)
    inputs = torch.from_numpy(standardizer.inputs(dataset.features)).to(device)
    probe = MlpProbe((inputs.shape[1], *settings.hidden, dataset.n_classes), ACTIVATIONS[settings.activation])
    removal = "sum" if recipe.public_divisor else settings.removal
    objective = Objective(settings.weight_decay, settings.prior_precision, removal)
    problem = NetworkProblem(inputs, torch.from_numpy(dataset.labels).to(device), probe, objective)
    return standardizer, RetrainEngine(problem, inputs.to(getattr(torch, settings.dtype or "float32")), recipe)


def _require_room(checkpoint: Checkpoint, plan: RetrainPlan) -> None:
    """Refuses to go on with parts that are too large for the memory there is now."""
    size = checkpoint.plan["chunk_size"]
    if size > plan.chunk_size:
        raise MemoryLimitError(
            f"The run was begun with {size} models at once, but the memory limit of {plan.cost.limit_bytes / GIB:.1f} GiB now "
            f"allows {plan.chunk_size}. Raise the limit, free memory, or start anew."
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk of samples under one seed: what is computed, and kept, in one go.

    Attributes:
        engine, settings: what computes it.
        rows: (n,) the samples.
        number: of the seed, from 0.
        position: of the chunk, from 0.
    """

    engine: RetrainEngine
    settings: Settings
    rows: np.ndarray
    number: int
    position: int

    @property
    def name(self) -> str:
        """Its name in the checkpoint."""
        return f"seed{self.number}-part{self.position:05d}"


def _result(part: Part, checkpoint: Checkpoint, advance: Callable[[int], None]) -> Arrays:
    """The arrays of a part, computed or found in the checkpoint."""
    model = f"seed{part.number}-model"
    if checkpoint.has(part.name) and checkpoint.has(model):
        return _require_shape(checkpoint.load(part.name), part, checkpoint)
    settings, problem = part.settings, part.engine.problem
    indices = torch.as_tensor(part.rows, device=problem.inputs.device)
    epochs = _recipe(settings).snapshots(settings.every)
    terms = []
    for snapshot in part.engine(indices, settings.seed + part.number, set(epochs), advance):
        terms.append(_terms(problem, snapshot, part.rows, settings.curvature))
    mean, curvature = np.stack(terms, 1)
    arrays = {"epochs": np.array(epochs), "lsi_mean": mean, "lsi_curvature": curvature, **_outcome(problem, snapshot, indices)}
    if not checkpoint.has(model):
        checkpoint.save(model, {"params": snapshot.params.cpu().numpy()})
    checkpoint.save(part.name, arrays)
    return arrays


def _require_shape(arrays: Arrays, part: Part, checkpoint: Checkpoint) -> Arrays:
    """Refuses a part that was tampered with."""
    n_epochs, n = len(_recipe(part.settings).snapshots(part.settings.every)), len(part.rows)
    per_epoch = dict.fromkeys(("lsi_mean", "lsi_curvature"), (n_epochs, n))
    per_sample = dict.fromkeys(("train_probability", "shift_norm"), (n,))
    shapes = {**per_epoch, **per_sample, "epochs": (n_epochs,), "loo_log_proba": (n, part.engine.problem.probe.n_classes)}
    wrong = [name for name, shape in shapes.items() if name not in arrays or arrays[name].shape != shape]
    wrong += [name for name in shapes if name in arrays and np.isnan(arrays[name]).any()]
    if wrong and checkpoint.path is not None:
        raise damaged(checkpoint.path / f"{part.name}.npz", f"{wrong[0]} is missing or not as it was written")
    return arrays


def _terms(problem: NetworkProblem, snapshot: Snapshot, rows: np.ndarray, structure: str) -> np.ndarray:
    """lsi_mean and lsi_curvature (2, n)."""
    columns = []
    try:
        whole = laplace_posterior(problem, snapshot.params, structure)
        for row, shift in zip(rows.tolist(), snapshot.shift.double(), strict=True):
            terms = whole.kl_to(
                shift, laplace_posterior(problem, snapshot.params + shift, structure, torch.tensor([row], device=shift.device))
            )
            columns.append(torch.cat([terms.mean, terms.curvature]))
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ConvergenceError(f"The {structure} posterior is not positive definite in float64. {REMEDY}") from error
    values = torch.stack(columns, 1)
    require_scores(values.sum(0).cpu().numpy(), rows)
    return values.cpu().numpy()


def _outcome(problem: NetworkProblem, snapshot: Snapshot, indices: Tensor) -> Arrays:
    """What the trained models say of the samples."""
    moved = problem.probe.logits(snapshot.params + snapshot.shift.double(), problem.inputs[indices][:, None])[:, 0]
    before = problem.trace(snapshot.params, indices)
    outcome = {
        "loo_log_proba": torch.log_softmax(moved, -1),
        "train_probability": (-before.losses).exp(),
        "shift_norm": snapshot.shift.double().norm(dim=1),
    }
    return {name: values.cpu().numpy() for name, values in outcome.items()}


def _joined(parts: list[Arrays]) -> Arrays:
    """The parts of one seed, one after another."""
    joined = {name: np.concatenate([part[name] for part in parts], 1) for name in ("lsi_mean", "lsi_curvature")}
    for name in ("loo_log_proba", "train_probability", "shift_norm"):
        joined[name] = np.concatenate([part[name] for part in parts])
    return {**joined, "epochs": parts[0]["epochs"]}


def _grad_norm(problem: NetworkProblem, params: Tensor) -> float:
    """Norm of the gradient of the mean objective, unclipped: how far training is from its optimum."""
    mean = problem.gradient_sum(params, slice(0, problem.n_samples), None) / problem.n_samples
    return float((mean + problem.objective.weight_decay * params).norm())


def _verified(
    engine: RetrainEngine, settings: Settings, rows: np.ndarray, first_seed: Arrays, stages: Stages
) -> dict[str, Any] | None:
    if settings.verify == 0:
        return None
    lsi = first_seed["lsi_mean"][-1] + first_seed["lsi_curvature"][-1]
    picked = draw_rows(lsi, n_checks(settings.verify, len(rows)), settings.seed)
    with stages.stage("verify", len(picked)) as advance:
        checked = verify_retraining(engine, settings.curvature, settings.seed, rows[picked], lsi[picked], advance)
    return checked.to_dict()


def _evidence(by_seed: list[Arrays], model: FittedProbe, along: bool, record: dict[str, Any]) -> Evidence:
    """The means over the seeds, and the spread of lsi."""
    lsi = np.stack([part["lsi_mean"] + part["lsi_curvature"] for part in by_seed])
    log_proba = mean_log_probabilities(torch.from_numpy(np.stack([part["loo_log_proba"] for part in by_seed]))).numpy()
    measures = {name: np.mean([part[name][-1] for part in by_seed], 0) for name in ("lsi_mean", "lsi_curvature")}
    measures |= {name: np.mean([part[name] for part in by_seed], 0) for name in ("train_probability", "shift_norm")}
    if len(by_seed) > 1:
        measures["lsi_std"] = lsi[:, -1].std(0, ddof=1)
    trajectory = _trajectory(by_seed[0]["epochs"], by_seed, lsi) if along else None
    return Evidence(log_proba, measures, trajectory, model, record)


def _trajectory(epochs: np.ndarray, by_seed: list[Arrays], lsi: np.ndarray) -> pd.DataFrame:
    """One row a sample and epoch, means over the seeds."""
    n_epochs, n_rows = lsi.shape[1:]
    columns = {name: np.mean([part[name] for part in by_seed], 0).T.ravel() for name in ("lsi_mean", "lsi_curvature")}
    table = pd.DataFrame(
        {
            "position": np.repeat(np.arange(n_rows), n_epochs),
            "epoch": np.tile(epochs, n_rows),
            "lsi": columns["lsi_mean"] + columns["lsi_curvature"],
            **columns,
        }
    )
    if len(lsi) > 1:
        table["lsi_std"] = lsi.std(0, ddof=1).T.ravel()
    return table
