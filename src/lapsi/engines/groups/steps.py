"""How the optimum moves when many samples leave together: chord-Newton steps to convergence (docs/math.md, Groups).

The Hessian of the objective without the group, at the optimum of all, is factorised once; the gradient is exact at each step
and in difference form. Where the steps do not shrink, the problem without the group is fitted from there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.linalg.gram import weighted_gram
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import fit_map

TOLERANCE = 1e-10
CHORD_STEPS = 60
SHRINKS_BELOW = 0.7


def group_shift(problem: LinearProblem, map_params: Tensor, hessian: Tensor, rows: Tensor) -> Tensor:
    """Change (F, D) of the optimum when the samples `rows` (g,) leave, to a relative step of 1e-10.

    Args:
        problem, map_params: where the steps start.
        hessian: (P', P') of the objective of all samples at `map_params`.
        rows: fewer than all samples.
    """
    reduced = hessian - _own_hessian(problem, map_params, rows)
    factor, info = torch.linalg.cholesky_ex(reduced)
    shift = torch.zeros_like(map_params)
    last = torch.inf
    for _ in range(CHORD_STEPS if int(info) == 0 else 0):
        gradient = problem.gradient_without(rows[None], map_params, shift[None])
        step = torch.cholesky_solve(gradient.reshape(-1, 1), factor).view_as(shift)
        size = float(step.norm())
        if size > SHRINKS_BELOW * last:
            break
        shift = shift - step
        if size <= TOLERANCE * float(shift.norm()):
            return shift
        last = size
    return fit_map(problem.remove(rows), map_params + shift).params - map_params


def _own_hessian(problem: LinearProblem, map_params: Tensor, rows: Tensor) -> Tensor:
    """What leaves of the Hessian: that of the samples, and their share of the L2 strength."""
    inputs = problem.inputs[rows]
    own = weighted_gram([(inputs, problem.in_basis(problem.likelihood.hessian(problem.mean_of(map_params, inputs))))])
    own.diagonal().add_(problem.objective.l2_drop(len(rows)))
    return own
