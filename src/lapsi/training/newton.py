"""The MAP of a strictly convex problem: whitened L-BFGS to the neighbourhood, Newton steps to the last digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.linalg.matmul import one_thread_each
from lapsi.problem.linear import LinearProblem

LBFGS_MEMORY = 20
LBFGS_ITERATIONS = 500
LBFGS_TOLERANCE = 1e-8
NEWTON_ITERATIONS = 100
STEP_TOLERANCE = 1e-10
STALE_STEP = 1e-6
ROUNDING_FLOOR = 1e-15


@dataclass(frozen=True, slots=True)
class MapFit:
    """A converged optimum.

    Attributes:
        problem: whose optimum it is.
        params: (F, D).
        hessian: (P', P') of the sum-form objective, at `params` or within a relative step of 1e-6 of it.
        grad_norm: norm of the gradient of the mean-form objective.
        n_iterations: evaluations of L-BFGS and Newton steps together.
    """

    problem: LinearProblem
    params: Tensor
    hessian: Tensor
    grad_norm: float
    n_iterations: int


def fit_map(problem: LinearProblem, start: Tensor | None = None, advance: Callable[[], None] = lambda: None) -> MapFit:
    """The optimum of `problem`, to a relative Newton step of 1e-10 or the rounding floor of the gradient.

    Args:
        problem: strictly convex since its weight decay is positive.
        start: (F, D) a point close to the optimum; without it L-BFGS looks for one.
        advance: called once an iteration.

    Raises:
        ConvergenceError: when 100 Newton steps do not get there or the Hessian is not positive definite in float64.
    """
    n_evaluations = 0
    if start is None:
        start, n_evaluations = _lbfgs(problem, advance)
    return _newton(problem, start, n_evaluations, advance)


def _lbfgs(problem: LinearProblem, advance: Callable[[], None]) -> tuple[Tensor, int]:
    """L-BFGS in coordinates that whiten the Hessian at params = 0, which is I ⊗ (XᵀX/C + l2·I)."""
    model = problem.model
    values, vectors = torch.linalg.eigh(problem.start_hessian())
    scale = values.clamp(min=problem.objective.l2(problem.n_samples)).rsqrt()
    shape = (model.n_directions, model.n_features)

    def to_params(flat: np.ndarray) -> Tensor:
        whitened = torch.from_numpy(flat).to(scale.device).view(shape)
        return (whitened * scale) @ vectors.T

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        advance()
        value, gradient = problem.value_and_gradient(to_params(flat))
        return float(value), ((gradient @ vectors) * scale).flatten().cpu().numpy()

    tolerance = LBFGS_TOLERANCE * problem.n_samples**0.5
    options = {"maxcor": LBFGS_MEMORY, "maxiter": LBFGS_ITERATIONS, "gtol": tolerance, "ftol": 0.0}
    with one_thread_each():
        start = np.zeros(model.n_params)
        result = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return to_params(result.x), int(result.nfev)


def _newton(problem: LinearProblem, params: Tensor, n_iterations: int, advance: Callable[[], None]) -> MapFit:
    n_samples = problem.n_samples
    floor = ROUNDING_FLOOR * float(torch.linalg.vector_norm(problem.inputs, dim=1).sum())
    hessian: Tensor | None = None
    value, gradient = problem.value_and_gradient(params)
    for iteration in range(NEWTON_ITERATIONS):
        advance()
        if hessian is None:
            hessian = problem.hessian(params, problem.objective.l2(n_samples))
            factor = _factor(hessian)
        step = -torch.cholesky_solve(gradient.view(-1, 1), factor).view_as(params)
        step_norm, params_norm = float(step.norm()), float(params.norm())
        grad_norm = float(gradient.norm())
        if step_norm <= STEP_TOLERANCE * params_norm or grad_norm <= floor:
            return MapFit(problem, params, hessian, grad_norm / n_samples, n_iterations + iteration)
        params, value, gradient = _line_search(problem, params, step, value, gradient)
        if step_norm > STALE_STEP * params_norm:
            hessian = None
    raise ConvergenceError(
        f"The fit did not converge: after {NEWTON_ITERATIONS} Newton steps the last step was {step_norm:.1e} of "
        f"parameters of norm {params_norm:.1e} (gradient {grad_norm / n_samples:.1e}). Use a larger weight decay "
        f"(now {problem.objective.weight_decay:g}), or standardize the features."
    )


def _line_search(
    problem: LinearProblem, params: Tensor, step: Tensor, value: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halves the Newton step until the value falls enough (Armijo), or until its change drowns in rounding."""
    slope = float((gradient * step).sum())
    noise = 1e-13 * abs(float(value))
    length = 1.0
    while True:
        candidate = params + length * step
        new_value, new_gradient = problem.value_and_gradient(candidate)
        if float(new_value - value) <= 1e-4 * length * slope + noise:
            return candidate, new_value, new_gradient
        length /= 2


def _factor(hessian: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(hessian)
    if int(info) != 0:
        raise ConvergenceError(
            "The Hessian is not positive definite in float64: the weight decay is too small for features of this "
            "scale. Use a larger weight decay, or standardize the features."
        )
    return factor


def reduced_hessian(fit: MapFit) -> Tensor:
    """The Hessian (P', P') of all samples at the L2 strength that is left when one leaves: H of the leave-one-out step."""
    reduced = fit.hessian.clone()
    reduced.diagonal().sub_(fit.problem.objective.l2_drop())
    return reduced


def invert(matrix: Tensor) -> Tensor:
    """Inverse (P', P') of a symmetric positive definite matrix.

    Raises:
        ConvergenceError: when it is not positive definite in float64.
    """
    return torch.cholesky_inverse(_factor(matrix))
