"""The structures of the linear model by name."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.diag import DiagCurvature, diag_curvature
from lapsi.curvature.full import full_curvature, full_removal_curvature
from lapsi.curvature.kron import dense_hessian_slope, kron_curvature
from lapsi.curvature.sketch import is_worth_sketching, sketched_slope
from lapsi.curvature.slope import VarianceSlope, dense_slope
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import leaving_hessian


def settled_curvature(problem: LinearProblem, map_params: Tensor, structure: str) -> Curvature:
    """The posterior at `map_params`, for shifts that are settled alone."""
    if structure == "diag":
        return diag_curvature(problem, map_params)
    if structure == "kfac":
        return kron_curvature(problem, map_params)
    return full_curvature(problem, map_params)


def first_order_curvature(
    problem: LinearProblem,
    map_params: Tensor,
    structure: str,
    inverse: Tensor,
    *,
    streams: bool = False,
    error: float = 0.0,
) -> Curvature:
    """The posterior at `map_params`, for any shifts; `full` in its removal form.

    Args:
        problem, map_params: where the posterior sits.
        structure: its name.
        inverse: of GGN + l2_without·I (P', P'), in the dtype of the large products.
        streams: take the first-order change of `kfac` by a pass over the data and keep no matrix for it.
        error: what the first-order change of `diag` may miss, as a share of LSI.
    """
    if structure == "diag":
        return _diag_curvature(diag_curvature(problem, map_params), inverse, error)
    if structure == "kfac":
        return kron_curvature(problem, map_params, None if streams else dense_hessian_slope(problem, map_params))
    return full_removal_curvature(problem, map_params, leaving_hessian(problem, map_params), inverse)


def _diag_curvature(settled: DiagCurvature, inverse: Tensor, error: float) -> DiagCurvature:
    """With a slope: sketched where that is worth it and as good as `error` asks, else whole."""
    problem, params, model = settled.problem, settled.map_params, settled.problem.model
    slope: VarianceSlope | None = None
    entries = model.n_weights * model.n_params
    if inverse.dtype == torch.float32 and error > 0 and is_worth_sketching(problem.n_samples, entries):
        slope = sketched_slope(settled, inverse, error)
    return replace(settled, slope=slope or dense_slope(problem, params, inverse.dtype))
