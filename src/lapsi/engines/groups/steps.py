"""How the optimum moves when many samples leave together: chord-Newton steps to convergence (docs/math.md, Groups).

The matrix of the steps is the Hessian of the objective without the group, at the optimum of all: for a small group the inverse
of all samples' Hessian with a low-rank update, for a large one a factorisation of its own. The gradient is exact at each step
and in difference form. Where the steps do not shrink, the problem without the group is fitted from there.

Legend of the indices: n group, g its samples, m direction of the basis, k feature.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lapsi.execution.progress import Advance
from lapsi.linalg.gram import weighted_gram
from lapsi.linalg.woodbury import joint_columns, joint_reaction
from lapsi.problem.base import PADDING, weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import STEP_TOLERANCE, MapFit, fit_map

TOLERANCE = 1e-10
CHORD_STEPS = 60
SHRINKS_BELOW = 0.7

Solve = Callable[[Tensor, Tensor], Tensor]  # gradients (r, F, D) of some groups (r,) to their steps (r, F, D)


def low_rank_solve(problem: LinearProblem, map_params: Tensor, inverse: Tensor, units: Tensor) -> Solve:
    """The steps of small groups, by the inverse (P', P') of all samples' Hessian less what the samples of each put into it.

    The L2 strength of that Hessian is held: for a small share of the weight that costs few steps, and moves no optimum.
    """
    inputs = problem.inputs_of(units)
    columns = joint_columns(inverse, inputs)
    reaction = joint_reaction(columns, inputs, _own_hessians(problem, map_params, units))

    def solve(gradient: Tensor, rows: Tensor) -> Tensor:
        everyone = len(rows) == len(units)
        x, y, s = (part if everyone else part[rows] for part in (inputs, columns, reaction))
        solved = gradient.flatten(1) @ inverse
        projection = torch.einsum("ngk,nmk->ngm", x, solved.view_as(gradient)).flatten(1)
        return (solved + torch.einsum("nr,nrp->np", torch.einsum("nrs,ns->nr", s, projection), y)).view_as(gradient)

    return solve


def factor_solve(fit: MapFit, units: Tensor) -> Solve:
    """The steps of any groups, by the Cholesky factor (P', P') of the Hessian without each; NaN where it has none."""
    problem = fit.problem
    factors = fit.hessian.new_empty(len(units), *fit.hessian.shape)
    for unit, factor in zip(units, factors, strict=True):
        rows = members(unit)
        own = weighted_gram([(problem.inputs_of(rows), _own_hessians(problem, fit.params, rows[None])[0])])
        own.diagonal().add_(problem.objective.l2_drop(float(weight_of(problem, rows).sum())))
        lower, info = torch.linalg.cholesky_ex(fit.hessian - own)
        factor.copy_(lower if int(info) == 0 else torch.full_like(lower, torch.nan))

    def solve(gradient: Tensor, rows: Tensor) -> Tensor:
        steps = [torch.cholesky_solve(each.reshape(-1, 1), factors[row]) for each, row in zip(gradient, rows, strict=True)]
        return torch.stack(steps).view_as(gradient)

    return solve


def settle(
    problem: LinearProblem, map_params: Tensor, units: Tensor, solve: Solve, advance: Advance = lambda _: None
) -> tuple[Tensor, Tensor]:
    """Change (n, F, D) of the optimum when the samples units[n] leave, and what remains of it (n,), relative.

    Args:
        problem, map_params: where the steps start.
        units: (n, g), fewer than all samples each, some of them `PADDING`.
        solve: of `low_rank_solve` or `factor_solve` for these units.
        advance: told how many units are there.
    """
    shift, remaining = approach(problem, map_params, units, solve, advance)
    for row in torch.nonzero(remaining.isinf()).flatten().tolist():
        start = map_params + shift[row]
        shift[row] = fit_map(problem.remove(members(units[row])), start).params - map_params
        remaining[row] = STEP_TOLERANCE * map_params.norm() / shift[row].norm()
        advance(1)
    return shift, remaining


def approach(
    problem: LinearProblem,
    map_params: Tensor,
    units: Tensor,
    solve: Solve,
    advance: Advance = lambda _: None,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Chord steps of all units at once, until what remains of the shift is `tolerance` of it; arguments as in `settle`.

    Steps that shrink by a factor ρ leave step·ρ/(1 − ρ) to go. A unit whose steps do not shrink, the first against the shift it
    corrects, rests where it was.

    Returns:
        Shifts (n, F, D), and what remains (n,); infinite for each that did not get there.
    """
    active = torch.arange(len(units), device=units.device)
    start = map_params.new_zeros(len(units), *map_params.shape)
    shift = -solve(problem.leaving_gradient(units, map_params, start), active)
    remaining, last = torch.full_like(shift[:, 0, 0], torch.inf), shift.flatten(1).norm(dim=1)
    shift = torch.where(last.isfinite()[:, None, None], shift, 0.0)
    active = active[last.isfinite()]
    for _ in range(CHORD_STEPS):
        if len(active) == 0:
            break
        step = solve(problem.gradient_without(units[active], map_params, shift[active]), active)
        size = step.flatten(1).norm(dim=1)
        shrinks = (size < SHRINKS_BELOW * last[active]) | (size == 0)  # what weighs nothing moves nothing
        active, step, size = active[shrinks], step[shrinks], size[shrinks]
        shift[active] -= step
        left = torch.where(size == 0, 0.0, size.square() / (last[active] - size) / shift[active].flatten(1).norm(dim=1))
        there = left <= tolerance
        remaining[active[there]] = left[there]
        last[active] = size
        advance(int(there.sum()))
        active = active[~there]
    return shift, remaining


def members(unit: Tensor) -> Tensor:
    """The samples of a unit (g,), without `PADDING`."""
    return unit[unit != PADDING]


def _own_hessians(problem: LinearProblem, map_params: Tensor, units: Tensor) -> Tensor:
    """a_i VᵀS_iV (n, g, F, F) of the samples of each unit."""
    hessians = problem.likelihood.hessian(problem.state_of(map_params, problem.inputs_of(units))).flatten(0, 1)
    return weight_of(problem, units)[..., None, None] * problem.in_basis(hessians).unflatten(0, units.shape)
