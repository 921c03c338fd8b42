"""The structures of the linear model by name."""

from __future__ import annotations

from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import full_curvature, full_removal_curvature
from lapsi.curvature.kron import dense_hessian_slope, kron_curvature
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import leaving_hessian


def settled_curvature(problem: LinearProblem, map_params: Tensor, structure: str) -> Curvature:
    """The posterior at `map_params`, for shifts that are settled alone."""
    if structure == "diag":
        return diag_curvature(problem, map_params, None)
    if structure == "kfac":
        return kron_curvature(problem, map_params)
    return full_curvature(problem, map_params)


def first_order_curvature(
    problem: LinearProblem, map_params: Tensor, structure: str, inverse: Tensor, *, streams: bool = False
) -> Curvature:
    """The posterior at `map_params`, for any shifts; `full` in its removal form.

    Args:
        problem, map_params: where the posterior sits.
        structure: its name.
        inverse: of GGN + l2_without·I (P', P'), in the dtype of the large products.
        streams: take the first-order change of `kfac` by a pass over the data and keep no matrix for it.
    """
    if structure == "diag":
        return diag_curvature(problem, map_params, inverse.dtype)
    if structure == "kfac":
        return kron_curvature(problem, map_params, None if streams else dense_hessian_slope(problem, map_params))
    return full_removal_curvature(problem, map_params, leaving_hessian(problem, map_params), inverse)
