"""Measures the accuracy of scores: leave-one-out optima of a few samples, converged, against what was reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.full import FullCurvature
from lapsi.curvature.ggn import laplace_posterior
from lapsi.engines.newton.steps import NewtonEngine
from lapsi.engines.retrain.steps import RetrainEngine

EXACT_FULL_FLOP = 2e12
CHECKED_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Verification:
    """Relative error of LSI on the samples that were checked: |reported − reference| / reference.

    Attributes:
        rows: positions of the checked samples in the data set: that with the largest LSI, the others drawn at
            random from equal slices of the ranking.
        max_relative_error, median_relative_error: against `reference`.
        reference: `"exact"` (mean and curvature at the converged leave-one-out optimum), `"removal form"`
            (`full` curvature: converged optimum, the curvature of the other samples held), or `"trained alone"` (one model
            each, by the same recipe, in float64 and without differences; the first seed).
        max_relative_error_exact: `full` only: against the exact value; None where that would cost too much.
    """

    rows: tuple[int, ...]
    max_relative_error: float
    median_relative_error: float
    reference: str
    max_relative_error_exact: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "rows": list(self.rows)}


def verify_newton(engine: NewtonEngine, curvature: Curvature, rows: np.ndarray, lsi: np.ndarray) -> Verification:
    """Checks reported values `lsi` (n,) of samples `rows` (n,) against converged leave-one-out optima (to 1e-10)."""
    indices = torch.as_tensor(rows, device=engine.map_params.device)
    shift = engine.converge(indices)
    parts = zip(indices.split(CHECKED_AT_ONCE), shift.split(CHECKED_AT_ONCE), strict=True)
    errors = relative_errors(lsi, torch.cat([curvature.kl_terms_exact(*part).total for part in parts]))
    reference, dense = "exact", None
    if isinstance(curvature, FullCurvature):
        reference = "removal form"
        if exact_full_flop(engine, len(rows)) <= EXACT_FULL_FLOP:
            dense = float(relative_errors(lsi, curvature.kl_terms_dense(indices, shift).total).max())
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
    errors = relative_errors(lsi, torch.cat(reference))
    return Verification(tuple(rows.tolist()), float(errors.max()), float(np.median(errors)), "trained alone")


def exact_full_flop(engine: NewtonEngine, n_rows: int) -> float:
    """Flop of the exact change of a full curvature for `n_rows` samples."""
    n_free = engine.problem.probe.n_free_params
    return n_rows * (engine.problem.n_samples * n_free**2 + 10.0 * n_free**3)


def relative_errors(values: np.ndarray, reference: Tensor) -> np.ndarray:
    """|values − reference| / reference (n,)."""
    expected = reference.cpu().numpy()
    gap = np.abs(values - expected)
    return np.divide(gap, expected, out=np.zeros_like(gap), where=gap > 0)


def draw_rows(lsi: np.ndarray, n_checks: int, seed: int) -> np.ndarray:
    """Positions (k,) to check: the largest LSI, and one at random from each of k−1 equal slices of the ranking."""
    n_checks = min(n_checks, len(lsi))
    order = np.argsort(lsi, kind="stable")
    generator = np.random.default_rng(seed)
    slices = np.array_split(order[:-1], n_checks - 1) if n_checks > 1 else []
    return np.array(sorted([order[-1], *(generator.choice(part) for part in slices)]))
