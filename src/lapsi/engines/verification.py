"""Measures the accuracy of scores: leave-one-out optima of a few samples, converged, against what was reported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lapsi.curvature.base import Curvature
from lapsi.curvature.full import FullCurvature
from lapsi.curvature.ggn import laplace_posterior
from lapsi.engines.newton.steps import NewtonEngine
from lapsi.engines.retrain.steps import RetrainEngine
from lapsi.results.verification import Verification, relative_errors

EXACT_FULL_FLOP = 2e12
CHECKED_AT_ONCE = 128


def verify_newton(engine: NewtonEngine, curvature: Curvature, rows: np.ndarray, lsi: np.ndarray) -> Verification:
    """Checks reported values `lsi` (n,) of samples `rows` (n,) against converged leave-one-out optima (to 1e-10)."""
    indices = torch.as_tensor(rows, device=engine.map_params.device)
    shift = engine.converge(indices)
    parts = zip(indices.split(CHECKED_AT_ONCE), shift.split(CHECKED_AT_ONCE), strict=True)
    errors = relative_errors(lsi, torch.cat([curvature.kl_terms_exact(*part).total for part in parts]).cpu().numpy())
    reference, dense = "exact", None
    if isinstance(curvature, FullCurvature):
        reference = "removal form"
        if exact_full_flop(engine, len(rows)) <= EXACT_FULL_FLOP:
            dense = float(relative_errors(lsi, curvature.kl_terms_dense(indices, shift).total.cpu().numpy()).max())
    return Verification(tuple(rows.tolist()), float(errors.max()), float(np.median(errors)), reference, dense)


def verify_retraining(
    engine: RetrainEngine, structure: str, seed: int, rows: np.ndarray, lsi: np.ndarray, advance: Callable[[int], None]
) -> Verification:
    """Checks values `lsi` (n,) of samples `rows` (n,) under one seed against models trained alone in float64."""
    problem = engine.problem
    params = engine.alone(None, seed)
    whole = laplace_posterior(problem, params, structure)
    reference = []
    for row in rows.tolist():
        moved = engine.alone(row, seed)
        reference.append(
            whole.kl_to(
                moved - params, laplace_posterior(problem, moved, structure, torch.tensor([row], device=moved.device))
            ).total
        )
        advance(1)
    errors = relative_errors(lsi, torch.cat(reference).cpu().numpy())
    return Verification(tuple(rows.tolist()), float(errors.max()), float(np.median(errors)), "trained alone")


def exact_full_flop(engine: NewtonEngine, n_rows: int) -> float:
    """Flop of the exact change of a full curvature for `n_rows` samples."""
    n_free = engine.problem.probe.n_free_params
    return n_rows * (engine.problem.n_samples * n_free**2 + 10.0 * n_free**3)
