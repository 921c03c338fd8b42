"""How the optimum moves when many samples leave together: chord-Newton steps to convergence (MATH §3, for a set).

The Hessian of the objective without the group, at the optimum of all, is factorised once; the gradient is exact at each step
and in difference form. Where the steps do not shrink, the problem without the group is fitted from there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.problem.linear import Problem
from lapsi.training.newton import fit_map

TOLERANCE = 1e-10
CHORD_STEPS = 60
SHRINKS_BELOW = 0.7


def group_shift(problem: Problem, map_params: Tensor, hessian: Tensor, indices: Tensor) -> Tensor:
    """Change (C−1, D) of the optimum when the samples `indices` (g,) leave, to a relative step of 1e-10.

    Args:
        problem, map_params: where the steps start.
        hessian: (P', P') of the objective of all samples at `map_params`.
        indices: fewer than all samples.
    """
    reduced = hessian - problem.only(indices).hessian(map_params, problem.objective.l2_drop(len(indices)))
    factor, info = torch.linalg.cholesky_ex(reduced)
    shift = torch.zeros_like(map_params)
    last = torch.inf
    for _ in range(CHORD_STEPS if int(info) == 0 else 0):
        gradient = problem.gradient_without_group(indices, map_params, shift)
        step = torch.cholesky_solve(gradient.reshape(-1, 1), factor).view_as(shift)
        size = float(step.norm())
        if size > SHRINKS_BELOW * last:
            break
        shift = shift - step
        if size <= TOLERANCE * float(shift.norm()):
            return shift
        last = size
    return fit_map(problem.without(indices), map_params + shift).params - map_params
