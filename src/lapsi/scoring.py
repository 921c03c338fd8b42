"""The whole way from features and labels to scores, on one page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import full_curvature
from lapsi.curvature.kron import kron_curvature
from lapsi.dataset import Dataset, Standardizer, fit_standardizer, make_dataset
from lapsi.errors import ConvergenceError, InputError
from lapsi.loo.chunk import LooChunk
from lapsi.loo.newton import NewtonEngine
from lapsi.objective import Objective
from lapsi.plan import make_plan
from lapsi.probes.linear import linear_probe
from lapsi.problem import Problem
from lapsi.progress import Stages
from lapsi.scores import Provenance, Scores, build_table
from lapsi.settings import Settings
from lapsi.training.newton import fit_map, invert, reduced_hessian
from lapsi.verification import draw_rows, verify

FLOAT32_CONDITION = 1e-2 / np.finfo(np.float32).eps


@dataclass(frozen=True, slots=True, eq=False)
class FittedProbe:
    """The linear probe trained on all samples.

    Attributes:
        standardizer: maps features to the inputs of the probe.
        weights: (C, d + 1), the bias last.
    """

    standardizer: Standardizer
    weights: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, C) for features (n, d)."""
        return self.standardizer.inputs(features) @ self.weights.T


def score(
    X: Any,
    y: Any,
    *,
    curvature: str = "diag",
    weight_decay: float = 0.01,
    prior_precision: float | str = "map",
    removal: str = "mean",
    standardize: bool = True,
    engine: str = "auto",
    refine: int | str = "auto",
    ids: Any = None,
    indices: Any = None,
    verify: int = 16,
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    memory_limit: int | None = None,
    progress: bool = True,
) -> Scores:
    """Laplace Sample Information of every sample of a labelled data set, under a linear softmax probe.

    LSI(i) = KL(q ‖ q₋ᵢ) in nats: the divergence between the Laplace posterior over the probe's weights trained with
    sample i and the one trained without it (paper, Definition 2). Not N models are trained but one: the
    leave-one-out optimum is an exact Newton step, whose accuracy is measured on `verify` samples and stored with the scores.

    Args:
        X: (N, d) numeric features: numpy array, torch tensor, pandas frame.
        y: (N,) labels: integers, strings or booleans.
        ids: (N,) unique identifiers; default: the index of a pandas frame, else the row number.
        indices: positions of the samples to score (the others still train the model); default: all.
        progress: draw progress bars on standard error.
        curvature, weight_decay, prior_precision, removal, standardize, engine, refine, verify, device, dtype, seed,
            memory_limit: see `Settings`.

    Returns:
        `Scores`, one row a scored sample.

    Raises:
        InputError: the data or a setting cannot be used.
        MemoryLimitError: the run would not fit; raised before it starts.
        ConvergenceError: the fit did not converge.
    """
    settings = Settings(
        curvature=curvature,
        weight_decay=weight_decay,
        prior_precision=prior_precision,
        removal=removal,
        standardize=standardize,
        engine=engine,
        refine=refine,
        verify=verify,
        device=device,
        dtype=dtype,
        seed=seed,
        memory_limit=memory_limit,
    )
    dataset = make_dataset(X, y, ids=ids)
    return score_dataset(dataset, settings, check_indices(indices, dataset.n_samples), Stages(progress))[0]


def score_dataset(dataset: Dataset, settings: Settings, rows: np.ndarray, stages: Stages) -> tuple[Scores, FittedProbe]:
    """Scores samples `rows` (n,) of a data set; also returns the probe that was trained on all of it."""
    plan = make_plan(dataset.n_samples, dataset.n_features, dataset.n_classes, len(rows), settings)
    plan.require_memory(dataset.n_features, dataset.n_classes)
    device = _device(settings.device)

    standardizer = fit_standardizer(dataset.features, settings.standardize)
    problem = _problem(dataset, standardizer, settings, device)
    with stages.stage("fit") as advance:
        fit = fit_map(problem, advance=lambda: advance(1))
        hessian = reduced_hessian(problem, fit)
        inverse = _inverse(hessian, settings.dtype)
    probe = FittedProbe(standardizer, problem.probe.weights(fit.params).cpu().numpy())
    with stages.stage("curvature"):
        curvature = _curvature(problem, fit.params, hessian, inverse, settings.curvature)
    steps = 0 if settings.refine == "auto" else int(settings.refine)
    engine = NewtonEngine(problem, fit.params, inverse, steps)
    grad_norm, n_iterations = fit.grad_norm, fit.n_iterations
    del fit, hessian

    indices = torch.as_tensor(rows, device=device)
    with stages.stage("leave-one-out", len(rows)) as advance:
        logits, measures = _measure(curvature, engine(indices), problem, engine.map_params, steps > 0, advance)
    if plan.n_refined > 0:
        with stages.stage("refine", plan.n_refined) as advance:
            picked = np.argsort(-_urgency(measures), kind="stable")[: plan.n_refined]
            source = engine.refined if plan.converges else engine.corrected
            chunks = source(indices[torch.as_tensor(picked, device=device)])
            refined = _measure(curvature, chunks, problem, engine.map_params, plan.converges, advance)
            logits[picked] = refined[0]
            for name, values in refined[1].items():
                measures[name][picked] = values
    lsi = measures["lsi_mean"] + measures["lsi_curvature"]
    _require_scores(lsi, settings.weight_decay)
    checked = None
    if settings.verify > 0:
        with stages.stage("verify"):
            picked = draw_rows(lsi, settings.verify, settings.seed)
            checked = verify(engine, curvature, rows[picked], lsi[picked]).to_dict()

    train_accuracy = float(
        (problem.probe.logits(engine.map_params, problem.inputs).argmax(1) == problem.labels).double().mean()
    )
    provenance = Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=plan.engine,
        dtype=str(inverse.dtype).removeprefix("torch."),
        device=str(device),
        source=dataset.source,
        data_hash=dataset.digest(),
        n_samples=dataset.n_samples,
        n_features=dataset.n_features,
        n_classes=dataset.n_classes,
        train_accuracy=train_accuracy,
        grad_norm=grad_norm,
        n_iterations=n_iterations,
        seconds=dict(stages.seconds),
        verification=checked,
    )
    table = build_table(dataset.ids[rows], dataset.labels[rows], dataset.classes, logits, measures)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, 1, keepdims=True)).astype(np.float32)
    return Scores(table, probabilities, dataset.classes, provenance), probe


def check_indices(indices: Any, n_samples: int) -> np.ndarray:
    """Positions (n,) int64, unique, in the order given; all for None.

    Raises:
        InputError: for anything but distinct integers in 0…N−1.
    """
    if indices is None:
        return np.arange(n_samples)
    rows = np.asarray(indices)
    if rows.ndim != 1 or len(rows) == 0 or rows.dtype.kind not in "iu":
        raise InputError(f"indices has shape {rows.shape} and dtype {rows.dtype}; expected a non-empty list of integers.")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise InputError(f"indices runs from {rows.min()} to {rows.max()}; expected positions from 0 to {n_samples - 1}.")
    if len(np.unique(rows)) < len(rows):
        raise InputError("indices names a sample more than once; expected distinct positions.")
    return rows.astype(np.int64)


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or "cpu")
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); try 'cpu'.") from error
    return device


def _problem(dataset: Dataset, standardizer: Standardizer, settings: Settings, device: torch.device) -> Problem:
    inputs = torch.from_numpy(standardizer.inputs(dataset.features)).to(device)
    labels = torch.from_numpy(dataset.labels).to(device)
    probe = linear_probe(inputs.shape[1], dataset.n_classes, device)
    objective = Objective(settings.weight_decay, settings.prior_precision, settings.removal)
    return Problem(inputs, labels, probe, objective)


def _inverse(hessian: Tensor, dtype: str | None) -> Tensor:
    """H⁻¹ in the asked dtype, or in float32 where rounding, amplified by the condition number, stays below 1e-2.

    The bound is pessimistic: at a condition number of 1e4 the shifts differ from those in float64 by 1e-6.
    """
    inverse = invert(hessian)
    if dtype is None:
        condition = torch.linalg.matrix_norm(hessian, 1) * torch.linalg.matrix_norm(inverse, 1)
        dtype = "float32" if float(condition) <= FLOAT32_CONDITION else "float64"
    return inverse.to(getattr(torch, dtype))


def _curvature(problem: Problem, params: Tensor, hessian: Tensor, inverse: Tensor, structure: str) -> Curvature:
    if structure == "diag":
        return diag_curvature(problem, params, inverse.dtype)
    if structure == "kfac":
        return kron_curvature(problem, params)
    return full_curvature(problem, params, hessian, inverse)


def _urgency(measures: dict[str, np.ndarray]) -> np.ndarray:
    """Urgency of going beyond the closed form (n,): first where it is no divergence, then by change of the logits."""
    lsi = measures["lsi_mean"] + measures["lsi_curvature"]
    return np.where(lsi >= 0, measures["logit_change"], np.inf)


def _require_scores(lsi: np.ndarray, weight_decay: float) -> None:
    bad = int((~(np.isfinite(lsi) & (lsi >= 0))).sum())
    if bad:
        raise ConvergenceError(
            f"{bad} of {len(lsi)} samples have no finite LSI: without them the model changes beyond what the closed form "
            f"describes. Use a larger weight decay (now {weight_decay:g}), or refine='auto'."
        )


def _measure(
    curvature: Curvature,
    chunks: Iterator[LooChunk],
    problem: Problem,
    map_params: Tensor,
    exact: bool,
    advance: Callable[[int], None],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Leave-one-out logits (n, C) and the measures of `build_table`, chunk by chunk."""
    logits, columns = [], []
    for chunk in chunks:
        terms = (curvature.kl_terms_exact if exact else curvature.kl_terms)(chunk.indices, chunk.shift)
        before = problem.probe.logits(map_params, problem.inputs[chunk.indices])
        own = torch.softmax(before, 1).gather(1, problem.labels[chunk.indices][:, None])[:, 0]
        logit_change = (chunk.logits - before).abs().amax(1)
        shift_norm = chunk.shift.flatten(1).norm(dim=1).double()
        columns.append(torch.stack([terms.mean, terms.curvature, own, chunk.leverage, shift_norm, logit_change]).cpu())
        logits.append(chunk.logits.cpu())
        advance(len(chunk.indices))
    names = ("lsi_mean", "lsi_curvature", "train_probability", "leverage", "shift_norm", "logit_change")
    values = torch.cat(columns, 1).numpy()
    return torch.cat(logits).numpy(), dict(zip(names, values, strict=True))
