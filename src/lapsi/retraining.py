"""The paper's own way: the probe is trained anew without each sample, many models at once, and kept part by part."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lapsi.checkpoint import Arrays, Checkpoint, Keep, open_checkpoint
from lapsi.curvature.network import laplace_posterior
from lapsi.dataset import Dataset, Standardizer, fit_standardizer
from lapsi.loo.retrain import RetrainEngine, Snapshot
from lapsi.model import Evidence, FittedProbe, mean_log_probabilities
from lapsi.network import NetworkProblem
from lapsi.objective import Objective
from lapsi.plan import RetrainPlan
from lapsi.probes.activation import ACTIVATIONS
from lapsi.probes.mlp import mlp_probe
from lapsi.progress import Stages
from lapsi.recipe import Recipe
from lapsi.settings import Settings
from lapsi.training.sampling import steps_per_epoch
from lapsi.verification import draw_rows, verify_retraining

CALIBRATION_ROWS = 8192
CHECKED_SHARE = 0.05
ROUTINE = ("memory_limit", "verify")  # settings that change no score of a part


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
    recipe = _recipe(settings)
    checkpoint = open_checkpoint(keep, identity(dataset, settings, rows), {"chunk_size": plan.chunk_size})
    with stages.stage("prepare"):
        standardizer, engine = _engine(dataset, settings, torch.device(settings.device or "cpu"))
    chunks = _chunks(rows, checkpoint.plan["chunk_size"])
    names = [[f"seed{number}-part{position:05d}" for position in range(len(chunks))] for number in range(recipe.seeds)]
    todo = sum(checkpoint.load(name) is None for line in names for name in line)
    with stages.stage("retrain", todo * recipe.epochs) as advance:
        by_seed = [
            _joined(
                [
                    _part(engine, settings, chunk, number, name, checkpoint, advance)
                    for chunk, name in zip(chunks, line, strict=True)
                ]
            )
            for number, line in enumerate(names)
        ]
    lsi = np.stack([part["lsi_mean"] + part["lsi_curvature"] for part in by_seed])
    record = {
        "dtype": str(engine.inputs.dtype).removeprefix("torch."),
        "grad_norm": _grad_norm(engine, torch.from_numpy(by_seed[0]["params"]).to(engine.inputs.device)),
        "n_iterations": recipe.epochs * steps_per_epoch(recipe, dataset.n_samples),
        "verification": _verified(engine, settings, rows, lsi[0, -1], stages),
    }
    params = np.stack([part["params"] for part in by_seed])
    log_proba = mean_log_probabilities(torch.from_numpy(np.stack([part["loo_log_proba"] for part in by_seed]))).numpy()
    measures = {name: np.mean([part[name][-1] for part in by_seed], 0) for name in ("lsi_mean", "lsi_curvature")}
    measures |= {name: np.mean([part[name] for part in by_seed], 0) for name in ("train_probability", "shift_norm")}
    if recipe.seeds > 1:
        measures["lsi_std"] = lsi[:, -1].std(0, ddof=1)
    trajectory = None if settings.every is None else _trajectory(by_seed[0]["epochs"], by_seed, lsi)
    return Evidence(log_proba, measures, trajectory, FittedProbe(standardizer, engine.problem.probe, params), record)


def identity(dataset: Dataset, settings: Settings, rows: np.ndarray) -> dict[str, Any]:
    """What must be equal for the parts of a run to belong together."""
    kept = {name: value for name, value in settings.to_dict().items() if name not in ROUTINE}
    digest = pd.util.hash_array(rows).sum()
    return {"version": version("lapsi"), "data": dataset.digest(), "n_scored": len(rows), "rows": str(digest), "settings": kept}


def calibrated_seconds(dataset: Dataset, settings: Settings, plan: RetrainPlan, n_scored: int) -> float:
    """Wall time of the whole run, from an epoch of one chunk on the first rows of the data."""
    recipe = _recipe(settings)
    n_rows = min(dataset.n_samples, CALIBRATION_ROWS)
    part = replace(dataset, features=dataset.features[:n_rows], labels=dataset.labels[:n_rows], ids=dataset.ids[:n_rows])
    short = replace(recipe, epochs=2, schedule="constant")
    _, engine = _engine(part, replace(settings, recipe=short, every=None), torch.device(settings.device or "cpu"))
    indices = torch.arange(min(plan.chunk_size, n_scored, n_rows), device=engine.inputs.device)
    ticks: list[float] = []
    (last,) = engine(indices, 0, {2}, lambda _: ticks.append(time.perf_counter()))
    epoch = ticks[1] - ticks[0]
    laplace_posterior(engine.problem, last.params, settings.curvature)
    posterior = time.perf_counter() - ticks[1]
    scale = recipe.seeds * n_scored * dataset.n_samples / n_rows
    n_snapshots = len(_snapshots(recipe, settings.every))
    return scale * (recipe.epochs * epoch / len(indices) + n_snapshots * posterior)


def _recipe(settings: Settings) -> Recipe:
    assert settings.recipe is not None
    return settings.recipe


def _engine(dataset: Dataset, settings: Settings, device: torch.device) -> tuple[Standardizer, RetrainEngine]:
    standardizer = fit_standardizer(dataset.features, settings.standardize)
    inputs = torch.from_numpy(standardizer.inputs(dataset.features)).to(device)
    probe = mlp_probe(inputs.shape[1], settings.hidden, dataset.n_classes, ACTIVATIONS[settings.activation])
    objective = Objective(settings.weight_decay, settings.prior_precision, settings.removal)
    problem = NetworkProblem(inputs, torch.from_numpy(dataset.labels).to(device), probe, objective)
    return standardizer, RetrainEngine(problem, inputs.to(getattr(torch, settings.dtype or "float32")), _recipe(settings))


def _chunks(rows: np.ndarray, chunk_size: int) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // chunk_size))


def _snapshots(recipe: Recipe, every: int | None) -> list[int]:
    """Epochs after which LSI is taken, the last one among them."""
    return sorted({*range(every, recipe.epochs, every), recipe.epochs}) if every else [recipe.epochs]


def _part(
    engine: RetrainEngine,
    settings: Settings,
    rows: np.ndarray,
    number: int,
    name: str,
    checkpoint: Checkpoint,
    advance: Callable[[int], None],
) -> Arrays:
    """The results of one chunk and seed, computed or found in the checkpoint."""
    kept = checkpoint.load(name)
    if kept is not None:
        return kept
    indices = torch.as_tensor(rows, device=engine.inputs.device)
    epochs = _snapshots(_recipe(settings), settings.every)
    snapshots = engine(indices, settings.seed + number, set(epochs), advance)
    terms = []
    for snapshot in snapshots:
        terms.append(_terms(engine.problem, snapshot, rows, settings.curvature))
    mean, curvature = np.stack(terms, 1)
    part = {
        "epochs": np.array(epochs),
        "lsi_mean": mean,
        "lsi_curvature": curvature,
        **_outcome(engine.problem, snapshot, indices),
    }
    checkpoint.save(name, part)
    return part


def _terms(problem: NetworkProblem, snapshot: Snapshot, rows: np.ndarray, structure: str) -> np.ndarray:
    """lsi_mean and lsi_curvature (2, n)."""
    whole = laplace_posterior(problem, snapshot.params, structure)
    columns = []
    for row, shift in zip(rows.tolist(), snapshot.shift.double(), strict=True):
        terms = whole.kl_to(shift, laplace_posterior(problem, snapshot.params + shift, structure, row))
        columns.append(torch.cat([terms.mean, terms.curvature]))
    return torch.stack(columns, 1).cpu().numpy()


def _outcome(problem: NetworkProblem, snapshot: Snapshot, indices: Tensor) -> Arrays:
    """What the trained models say of the samples."""
    moved = problem.probe.logits(snapshot.params + snapshot.shift.double(), problem.inputs[indices][:, None])[:, 0]
    before = problem.trace(snapshot.params, indices)
    outcome = {
        "loo_log_proba": torch.log_softmax(moved, -1),
        "train_probability": (-before.losses).exp(),
        "shift_norm": snapshot.shift.double().norm(dim=1),
        "params": snapshot.params,
    }
    return {name: values.cpu().numpy() for name, values in outcome.items()}


def _joined(parts: list[Arrays]) -> Arrays:
    """The parts of one seed, one after another."""
    joined = {name: np.concatenate([part[name] for part in parts], 1) for name in ("lsi_mean", "lsi_curvature")}
    for name in ("loo_log_proba", "train_probability", "shift_norm"):
        joined[name] = np.concatenate([part[name] for part in parts])
    return {**joined, "epochs": parts[0]["epochs"], "params": parts[0]["params"]}


def _grad_norm(engine: RetrainEngine, params: Tensor) -> float:
    """Norm of the gradient of the mean objective, unclipped: how far training is from its optimum."""
    problem = engine.problem
    total = problem.gradient(problem.trace(params, slice(0, problem.n_samples)), None)
    return float((total / problem.n_samples + problem.objective.weight_decay * params).norm())


def _verified(
    engine: RetrainEngine, settings: Settings, rows: np.ndarray, lsi: np.ndarray, stages: Stages
) -> dict[str, Any] | None:
    n_checks = min(settings.verify, max(2, round(CHECKED_SHARE * len(rows))))
    if settings.verify == 0:
        return None
    picked = draw_rows(lsi, n_checks, settings.seed)
    with stages.stage("verify", len(picked)) as advance:
        checked = verify_retraining(engine, settings.curvature, settings.seed, rows[picked], lsi[picked], advance)
    return checked.to_dict()


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
