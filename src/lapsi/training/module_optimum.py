"""The optimum of a module's parameters from where they are: full-batch L-BFGS in float64, with or without a sample."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lapsi.models.likelihoods.base import weighted
from lapsi.models.module.layers import Layer
from lapsi.problem.base import weight_of
from lapsi.problem.module import ModuleProblem

GRADIENT_TOLERANCE = 1e-6  # of the mean loss
PASSES_USED_UP = 1  # the status of L-BFGS-B


@dataclass(frozen=True, slots=True)
class ModuleOptimum:
    """Where L-BFGS ended.

    Attributes:
        params: (P,) float64.
        grad_norm: of the mean-form objective there.
        n_evaluations: passes over the data.
        is_converged: whether it ended at a small gradient, or where no step was to be found; not when the passes were used up.
    """

    params: Tensor
    grad_norm: float
    n_evaluations: int
    is_converged: bool


def in_float64(problem: ModuleProblem) -> ModuleProblem:
    """The problem of a copy of its module in float64: it can be moved, and the given module stays as it is."""
    return problem.on(copy.deepcopy(problem.module).double(), torch.float64)


def set_params(layers: tuple[Layer, ...], params: Tensor) -> None:
    """Writes params (P,) into the modules of the layers."""
    with torch.no_grad():
        for layer, part in zip(layers, params.split([layer.n_params for layer in layers]), strict=True):
            for name, value in layer.split(part).items():
                layer.module.get_parameter(name).copy_(value)


def module_optimum(problem: ModuleProblem, start: Tensor, most: int) -> ModuleOptimum:
    """From params `start` (P,), within `most` passes over the samples that are there.

    The module of the problem is moved, and stands at the optimum afterwards; build it with `in_float64`.
    """
    total = problem.total

    def mean_loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        set_params(problem.layers, torch.from_numpy(flat).to(start.device))
        value, gradient = value_and_gradient(problem)
        return value / total, (gradient / total).numpy(force=True)

    options = {"maxfun": most, "maxiter": most, "gtol": GRADIENT_TOLERANCE, "ftol": 0.0, "maxcor": 20}
    result = minimize(mean_loss, start.numpy(force=True), jac=True, method="L-BFGS-B", options=options)
    params = torch.from_numpy(result.x).to(start.device)
    set_params(problem.layers, params)
    return ModuleOptimum(params, float(np.linalg.norm(result.jac)), int(result.nfev), result.status != PASSES_USED_UP)


def value_and_gradient(problem: ModuleProblem) -> tuple[float, Tensor]:
    """Of the sum-form objective at the parameters of the module: its value, and its gradient (P,)."""
    params = problem.params
    l2 = problem.objective.l2(problem.total)
    value, gradient = 0.5 * l2 * float(params.square().sum()), l2 * params
    named = [(layer, list(layer.split(layer.params))) for layer in problem.layers]
    for rows, passed, targets in problem.passes(problem.present):
        losses = weighted(problem.loss.losses(passed.outputs, targets), weight_of(problem, rows))
        leaves = [layer.module.get_parameter(name) for layer, names in named for name in names]
        grads = iter(torch.autograd.grad(losses.sum(), leaves))
        gradient = gradient + torch.cat([layer.join({name: next(grads) for name in names}) for layer, names in named])
        value += float(losses.detach().sum())
    return value, gradient
