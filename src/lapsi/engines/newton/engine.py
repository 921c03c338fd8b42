"""The closed-form way: the converged linear probe, and one Newton step for every sample that leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import full_curvature
from lapsi.curvature.kron import kron_curvature
from lapsi.data.dataset import Dataset, fit_standardizer
from lapsi.engines.base import LooChunk
from lapsi.engines.choose import NewtonPlan
from lapsi.engines.newton.steps import NewtonEngine
from lapsi.engines.verification import draw_rows, verify_newton
from lapsi.execution.progress import Stages
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.fitted import Evidence, FittedProbe, require_scores
from lapsi.models.mlp import MlpProbe
from lapsi.problem.linear import Problem, linear_problem
from lapsi.settings.settings import Settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

FLOAT32_CONDITION = 1e-2 / np.finfo(np.float32).eps


def closed_form(
    dataset: Dataset, settings: Settings, plan: NewtonPlan, rows: np.ndarray, device: torch.device, stages: Stages
) -> Evidence:
    """Scores samples `rows` (n,) by exact leave-one-out Newton steps (MATH §3).

    Raises:
        ConvergenceError: the fit did not converge, or a sample has no finite LSI.
    """
    standardizer = fit_standardizer(dataset.features, settings.standardize)
    problem = linear_problem(dataset, standardizer, settings, device)
    with stages.stage("fit") as advance:
        fit = fit_map(problem, advance=lambda: advance(1))
        hessian = reduced_hessian(problem, fit)
        inverse = _inverse(hessian, settings.dtype)
    weights = problem.probe.weights(fit.params).flatten().cpu().numpy()
    with stages.stage("curvature"):
        curvature = _curvature(problem, fit.params, hessian, inverse, settings.curvature, plan.streams)
    steps = 0 if settings.refine == "auto" else int(settings.refine)
    engine = NewtonEngine(problem, fit.params, inverse, steps)
    record = {"grad_norm": fit.grad_norm, "n_iterations": fit.n_iterations, "dtype": str(inverse.dtype).removeprefix("torch.")}
    del fit, hessian

    indices = torch.as_tensor(rows, device=device)
    with stages.stage("leave-one-out", len(rows)) as advance:
        logits, measures = _measure(curvature, engine(indices), problem, engine.map_params, steps > 0, advance)
    if plan.n_refined > 0:
        with stages.stage("refine", plan.n_refined) as advance:
            picked = np.argsort(-_urgency(measures), kind="stable")[: plan.n_refined]
            source = engine.refined if plan.converges else engine.corrected
            chunks = source(indices[torch.as_tensor(picked, device=device)])
            _replace(logits, measures, picked, _measure(curvature, chunks, problem, engine.map_params, plan.converges, advance))
    broken = np.flatnonzero(~_is_divergence(measures))
    if settings.refine == "auto" and len(broken) > 0:  # their change of the curvature is too large to be taken to first order
        with stages.stage("refine", len(broken)) as advance:
            chunks = engine.refined(indices[torch.as_tensor(broken, device=device)])
            exact = _measure(curvature, chunks, problem, engine.map_params, True, advance)
            _replace(logits, measures, broken, exact)
    lsi = measures["lsi_mean"] + measures["lsi_curvature"]
    require_scores(lsi, rows)
    record["verification"] = None
    if settings.verify > 0:
        with stages.stage("verify"):
            picked = draw_rows(lsi, settings.verify, settings.seed)
            record["verification"] = verify_newton(engine, curvature, rows[picked], lsi[picked]).to_dict()

    probe = MlpProbe((problem.probe.n_features, dataset.n_classes), ACTIVATIONS["relu"])
    log_proba = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
    return Evidence(log_proba, measures, None, FittedProbe(standardizer, probe, weights[None]), record)


def _inverse(hessian: Tensor, dtype: str | None) -> Tensor:
    """H⁻¹ in the asked dtype, or in float32 where rounding, amplified by the condition number, stays below 1e-2.

    The bound is pessimistic: at a condition number of 1e4 the shifts differ from those in float64 by 1e-6.
    """
    inverse = invert(hessian)
    if dtype is None:
        condition = torch.linalg.matrix_norm(hessian, 1) * torch.linalg.matrix_norm(inverse, 1)
        dtype = "float32" if float(condition) <= FLOAT32_CONDITION else "float64"
    return inverse.to(getattr(torch, dtype))


def _curvature(problem: Problem, params: Tensor, hessian: Tensor, inverse: Tensor, structure: str, streams: bool) -> Curvature:
    if structure == "diag":
        return diag_curvature(problem, params, inverse.dtype)
    if structure == "kfac":
        return kron_curvature(problem, params, streams=streams)
    return full_curvature(problem, params, hessian, inverse)


def _is_divergence(measures: dict[str, np.ndarray]) -> np.ndarray:
    """Whether LSI is finite and not negative (n,)."""
    lsi = measures["lsi_mean"] + measures["lsi_curvature"]
    return np.isfinite(lsi) & (lsi >= 0)


def _urgency(measures: dict[str, np.ndarray]) -> np.ndarray:
    """Urgency of going beyond the closed form (n,): first where it is no divergence, then by change of the logits."""
    return np.where(_is_divergence(measures), measures["logit_change"], np.inf)


def _replace(
    logits: np.ndarray, measures: dict[str, np.ndarray], rows: np.ndarray, better: tuple[np.ndarray, dict[str, np.ndarray]]
) -> None:
    """Writes better logits and measures of the samples `rows` over what was there."""
    logits[rows] = better[0]
    for name, values in better[1].items():
        measures[name][rows] = values


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
