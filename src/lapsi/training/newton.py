"""The MAP of a strictly convex problem: whitened L-BFGS to the neighbourhood, Newton steps to the last digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lapsi.errors import ConvergenceError, InputError
from lapsi.linalg.gram import square
from lapsi.linalg.matmul import one_thread_each
from lapsi.linalg.sweep import invert_in_place
from lapsi.problem.base import mean_weight
from lapsi.problem.linear import LinearProblem

LBFGS_MEMORY = 20
LBFGS_ITERATIONS = 500
LBFGS_TOLERANCE = 1e-8
NEAR_TOLERANCE, NEAR_STEP = 1e-6, 1e-3
ROUGH_TOLERANCE = 1e-6
NEWTON_ITERATIONS = 100
STEP_TOLERANCE = 1e-10
STALE_STEP = 1e-6
ARMIJO = 1e-4
HALVINGS = 40
FLOAT32_ROUNDING = 1e-5  # of a sum in float32, relative to the least eigenvalue
FLOAT32_FLOP = 1e11  # of a Hessian that is not summed in a second in float64
FLOAT32_CONDITION = 1e-2 / float(np.finfo(np.float32).eps)
INDEFINITE = (
    "The Hessian is not positive definite in float64: the weight decay is too small for features of this scale. Use a larger "
    "weight decay, or standardize the features."
)
EPSILON = float(np.finfo(np.float64).eps)


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


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """XᵀAX = Q diag(s) Qᵀ of the inputs; build it with `spectrum_of`.

    Attributes:
        values, vectors: s (D,) and Q (D, D).
    """

    values: Tensor
    vectors: Tensor


def spectrum_of(inputs: Tensor, weights: Tensor | None) -> Spectrum:
    """That of inputs X (N, D) with weights a (N,): one for all weight decays.

    Raises:
        InputError: when their squares overflow.
    """
    gram = square(inputs, weights)
    if not bool(gram.isfinite().all()):
        raise InputError("The features are too large to be squared in float64; divide them by a constant first.")
    return Spectrum(*torch.linalg.eigh(gram))


def fit_map(problem: LinearProblem, start: Tensor | None = None, advance: Callable[[], None] = lambda: None) -> MapFit:
    """The optimum of `problem`, to a relative Newton step of 1e-10 or the rounding floor of the gradient.

    Args:
        problem: strictly convex since its weight decay is positive.
        start: (F, D) a point close to the optimum; without it L-BFGS looks for one.
        advance: called once an iteration.

    Raises:
        ConvergenceError: when 100 Newton steps do not get there or the Hessian is not positive definite in float64.
        InputError: when the squares of the inputs overflow.
    """
    n_evaluations = 0
    if start is None:
        start, n_evaluations = whitened_map(problem, advance)
    return _newton(problem, start, n_evaluations, advance)


def near_map(problem: LinearProblem, spectrum: Spectrum, start: Tensor | None) -> tuple[MapFit, Tensor]:
    """The optimum after one Newton step of less than a thousandth of it, mostly for the price of one Hessian; and its factor.

    `start` and errors as in `fit_map`.
    """
    near, n_evaluations = _lbfgs(problem, spectrum, start, NEAR_TOLERANCE, lambda: None)
    solver, gradient = _factored(problem, near), problem.value_and_gradient(near)[1]
    step = solver(gradient)
    if float(step.norm()) <= NEAR_STEP * float(near.norm()):
        fit = MapFit(problem, near - step, solver.hessian, float(gradient.norm()) / problem.total, n_evaluations + 1)
        return fit, solver.factor
    fit = fit_map(problem, near)
    return fit, _factor(fit.hessian)


def whitened_map(problem: LinearProblem, advance: Callable[[], None] = lambda: None) -> tuple[Tensor, int]:
    """As near to the optimum (F, D) as L-BFGS comes, and its evaluations; arguments and errors as in `fit_map`."""
    return _lbfgs(problem, spectrum_of(problem.inputs, problem.weights), None, LBFGS_TOLERANCE, advance)


def rough_map(problem: LinearProblem, spectrum: Spectrum, start: Tensor | None, tolerance: float = ROUGH_TOLERANCE) -> Tensor:
    """The optimum (F, D) as L-BFGS alone finds it, without a Hessian; `start` as in `fit_map`.

    `tolerance`: of the whitened gradient, relative to the root of the sum of the weights.
    """
    return _lbfgs(problem, spectrum, start, tolerance, lambda: None)[0]


def _lbfgs(
    problem: LinearProblem, spectrum: Spectrum, origin: Tensor | None, tolerance: float, advance: Callable[[], None]
) -> tuple[Tensor, int]:
    """L-BFGS, from `origin` or 0, in coordinates that whiten I ⊗ (XᵀX/K + l2·I), for the softmax the Hessian at params = 0."""
    model = problem.model
    vectors = spectrum.vectors
    scale = (problem.start_variance() * spectrum.values.clamp(min=0) + problem.objective.l2(problem.total)).rsqrt()
    shape = (model.n_directions, model.n_features)

    def to_params(flat: np.ndarray) -> Tensor:
        whitened = torch.from_numpy(flat).to(scale.device).view(shape)
        return (whitened * scale) @ vectors.T

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        advance()
        value, gradient = problem.value_and_gradient(to_params(flat))
        return float(value), ((gradient @ vectors) * scale).flatten().cpu().numpy()

    gtol = tolerance * problem.total**0.5
    options = {"maxcor": LBFGS_MEMORY, "maxiter": LBFGS_ITERATIONS, "gtol": gtol, "ftol": 0.0}
    start = np.zeros(model.n_params) if origin is None else ((origin @ vectors) / scale).flatten().cpu().numpy()
    with one_thread_each():
        result = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return to_params(result.x), int(result.nfev)


def _newton(problem: LinearProblem, params: Tensor, n_evaluations: int, advance: Callable[[], None]) -> MapFit:
    found = newton_steps(problem, params, lambda near: _factored(problem, near), advance)
    point, n_iterations = found.point, n_evaluations + found.n_steps
    return MapFit(problem, point.params, found.solver.hessian, float(point.gradient.norm()) / problem.total, n_iterations)


@dataclass(frozen=True, slots=True)
class Point:
    """Params (F, D), and value and gradient of the sum-form objective there."""

    params: Tensor
    value: Tensor
    gradient: Tensor


def point_at(problem: LinearProblem, params: Tensor) -> Point:
    """At any params."""
    return Point(params, *problem.value_and_gradient(params))


Solver = TypeVar("Solver", bound=Callable[[Tensor], Tensor])  # of a gradient (F, D): H⁻¹ times it, H the Hessian somewhere


@dataclass(frozen=True, slots=True, eq=False)
class Converged(Generic[Solver]):
    """Where Newton steps ended.

    Attributes:
        point: the optimum.
        solver: of the last step: at that point, or within a relative step of 1e-6 of it.
        n_steps: steps that were taken.
    """

    point: Point
    solver: Solver
    n_steps: int


def newton_steps(
    problem: LinearProblem, start: Tensor, solver_at: Callable[[Tensor], Solver], advance: Callable[[], None] = lambda: None
) -> Converged[Solver]:
    """Newton steps, each as long as the value falls, to a relative step of 1e-10 or the rounding floor of the gradient.

    Args:
        problem: strictly convex since its weight decay is positive.
        start: (F, D) where they begin.
        solver_at: makes the solver at some params; one at a time is held.
        advance: called once a step.

    Raises:
        ConvergenceError: when 100 steps do not get there, or no length of one lowers the value.
    """
    total = problem.total
    solver: Solver | None = None
    point = point_at(problem, start)
    for iteration in range(NEWTON_ITERATIONS):
        advance()
        if solver is None:
            solver = solver_at(point.params)
        step = -solver(point.gradient)
        step_norm, params_norm, grad_norm = float(step.norm()), float(point.params.norm()), float(point.gradient.norm())
        if grad_norm == 0 or 0 < step_norm <= STEP_TOLERANCE * params_norm:
            return Converged(point, solver, iteration)
        moved = _line_search(problem, point, step)
        stalls = moved is None or float(moved.gradient.norm()) > grad_norm / 2
        if stalls and grad_norm <= _rounding(problem, point.params):
            return Converged(point, solver, iteration)
        if moved is None:
            break
        point = moved
        if step_norm > STALE_STEP * params_norm:
            solver = None
    raise ConvergenceError(
        f"The fit did not converge: after {iteration + 1} Newton steps the last step was {step_norm:.1e} of "
        f"parameters of norm {params_norm:.1e} (gradient {grad_norm / total:.1e}). Use a larger weight decay "
        f"(now {problem.objective.weight_decay:g}), or standardize the features."
    )


def _line_search(problem: LinearProblem, start: Point, step: Tensor) -> Point | None:
    """Halves the step until the value falls enough (Armijo); None where no length does, or the step leads uphill.

    Where the change of the value drowns in its rounding, the slope tells: it must fall by half.
    """
    slope = float((start.gradient * step).sum())
    if not slope < 0:
        return None
    noise = EPSILON * (abs(float(start.value)) + float(start.params.norm()) * _input_norms(problem))
    length = 1.0
    for _ in range(HALVINGS):
        point = point_at(problem, start.params + length * step)
        change = float(point.value - start.value)
        if change <= ARMIJO * length * slope:
            return point
        if change <= noise and abs(float((point.gradient * step).sum())) <= -slope / 2:
            return point
        length /= 2
    return None


def _input_norms(problem: LinearProblem) -> float:
    """Σ_j a_j ‖x_j‖."""
    return float(problem.weigh(torch.linalg.vector_norm(problem.inputs, dim=1), slice(None)).sum())


def _rounding(problem: LinearProblem, params: Tensor) -> float:
    """How far rounding may move the gradient at `params`: that of its sum, and that of the outputs through S."""
    likelihood, total = problem.likelihood, problem.objective.l2(problem.total) * params.norm()
    for rows in problem.row_blocks(8 * 2 * likelihood.n_outputs):
        inputs = problem.inputs_of(rows)
        state, length = problem.state_of(params, inputs), torch.linalg.vector_norm(inputs, dim=1)
        residual = torch.linalg.vector_norm(likelihood.residual(state, problem.targets[rows]), dim=1)
        own = length * (residual + likelihood.variance(state).sum(1) * params.norm() * length)
        total += problem.weigh(own, rows).sum()
    return EPSILON * float(total)


@dataclass(frozen=True, slots=True, eq=False)
class _Factored:
    """A Hessian (P', P') and its Cholesky factor."""

    hessian: Tensor
    factor: Tensor

    def __call__(self, gradient: Tensor) -> Tensor:
        """H⁻¹ times a gradient (F, D)."""
        return torch.cholesky_solve(gradient.reshape(-1, 1), self.factor).view_as(gradient)


def _factored(problem: LinearProblem, params: Tensor) -> _Factored:
    """The Hessian at `params` (F, D).

    Raises:
        ConvergenceError: when it is not positive definite in float64.
    """
    hessian = problem.hessian(params, problem.objective.l2(problem.total))
    return _Factored(hessian, _factor(hessian))


def _factor(hessian: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(hessian)
    if int(info) != 0:
        raise ConvergenceError(INDEFINITE)
    return factor


def hessian_flop(n_samples: int, n_features: int, n_directions: int) -> float:
    """Of summing a Hessian, symmetric and in tiles."""
    n_params = n_directions * n_features
    return 0.625 * n_samples * n_params * (n_params + n_features)


def hessian_dtype(problem: LinearProblem, *, exact: bool) -> torch.dtype:
    """In what the Hessian of a large problem may be made: float32 where a sum in it moves the inverse by less than 1e-5.

    Rounding is that of the largest diagonal entry, about that at params = 0, and the L2 term bounds the least eigenvalue: on
    CIFAR-10 features it is told as 1e-6, and shifts differ by 3e-6. `exact` asks for float64.
    """
    n_samples, n_features = problem.inputs.shape
    if exact or hessian_flop(n_samples, n_features, problem.model.n_directions) < FLOAT32_FLOP:
        return torch.float64
    squares = torch.zeros(n_features, dtype=torch.float64, device=problem.inputs.device)
    for rows in problem.row_blocks(16 * n_features):
        squares += problem.weigh(problem.inputs_of(rows).square(), rows).sum(0)
    largest = problem.start_variance() * float(squares.max())
    rounding = float(np.finfo(np.float32).eps) * largest / problem.objective.l2(problem.total)
    return torch.float32 if rounding <= FLOAT32_ROUNDING else torch.float64


def reduced_hessian(fit: MapFit) -> Tensor:
    """The Hessian (P', P') of all samples at the L2 strength that is left when one of mean weight leaves: H of the step."""
    reduced = fit.hessian.clone()
    reduced.diagonal().sub_(fit.problem.objective.l2_drop(mean_weight(fit.problem)))
    return reduced


def leaving_hessian(problem: LinearProblem, params: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """The same at any params (F, D), in `dtype`."""
    drop = problem.objective.l2_drop(mean_weight(problem))
    return problem.hessian(params, problem.objective.l2(problem.total) - drop, dtype)


def invert(matrix: Tensor) -> Tensor:
    """Inverse (P', P') of a symmetric positive definite matrix.

    Raises:
        ConvergenceError: when it is not positive definite in float64.
    """
    factor = _factor(matrix)
    return torch.cholesky_inverse(factor, out=factor)


def inverse_of(hessian: Tensor, dtype: str | None = None) -> Tensor:
    """H⁻¹ in the asked dtype, or in float32 where the condition number allows it.

    The bound is pessimistic: at a condition number of 1e4 the shifts differ from those in float64 by 1e-6. The Hessian, in
    float64, is overwritten.

    Raises:
        ConvergenceError: when it is not positive definite in float64.
    """
    norm = _norm(hessian)
    if not invert_in_place(hessian):
        raise ConvergenceError(INDEFINITE)
    if dtype is None:
        dtype = "float32" if _suits_float32(norm, hessian) else "float64"
    return hessian.to(getattr(torch, dtype))


def float32_inverse(hessian: Tensor, least: float) -> Tensor | None:
    """H⁻¹ of a Hessian in float32 with eigenvalues ≥ `least`, which is overwritten; None where float32 does not suit it."""
    norm, bounded = _norm(hessian), float(hessian.trace()) <= FLOAT32_CONDITION * least
    return hessian if invert_in_place(hessian) and (bounded or _suits_float32(norm, hessian)) else None


def _suits_float32(norm: Tensor, inverse: Tensor) -> bool:
    """Whether rounding in float32, amplified by the condition number, stays below 1e-2."""
    return float(norm * _norm(inverse)) <= FLOAT32_CONDITION


def _norm(matrix: Tensor) -> Tensor:
    """The largest sum of absolute values of a column; `matrix_norm` makes a second matrix for it."""
    return torch.linalg.vector_norm(matrix, 1, dim=0).max()
