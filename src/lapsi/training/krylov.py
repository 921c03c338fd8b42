"""The MAP of a strictly convex problem by truncated Newton steps, which take products of the Hessian alone.

Each step is solved by conjugate gradients (Dembo, Eisenstat and Steihaug 1982). What preconditions them is the inverse of a
Hessian nearby; or, where a Hessian is too large for memory, that of its diagonal blocks, one an output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.linalg.conjugate_gradients import Operator, Solution, conjugate_gradients
from lapsi.linalg.gram import squares, terms_that_matter
from lapsi.problem.base import mean_weight
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import (
    STALE_STEP,
    STEP_TOLERANCE,
    Converged,
    float32_inverse,
    inverse_of,
    leaving_hessian,
    newton_steps,
    rough_map,
    spectrum_of,
    whitened_map,
)

FORCING = 0.01  # residual of each step
PRODUCTS = 200
BLOCK_ROWS = 16384
LEFT_OUT = 1e-3  # of what weighs the samples in a block that is a preconditioner


@dataclass(frozen=True, slots=True, eq=False)
class KrylovFit:
    """A converged optimum without its Hessian.

    Attributes:
        params: (F, D).
        blocks: the diagonal blocks of the Hessian, about there.
        grad_norm: norm of the gradient of the mean-form objective.
        n_iterations: Newton steps that it took.
    """

    params: Tensor
    blocks: BlockPreconditioner
    grad_norm: float
    n_iterations: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class BlockPreconditioner:
    """Inverse of the diagonal blocks of a Hessian by their Cholesky factors; build it with `block_preconditioner`.

    Where the loss sees no level of the outputs, it is the inverse of the blocks among the vectors that sum to 0 over the
    outputs, and that of the L2 strength on the level, both exact there.

    Attributes:
        factors: (F, D, D) float32.
        joint: (D, D) float32, Cholesky factor of the sum of the inverse blocks; None where the loss sees the level.
        l2: strength of the L2 term.
    """

    factors: Tensor
    joint: Tensor | None
    l2: float

    def __call__(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Of vectors (r, F, D); the same for all units."""
        columns = vectors.permute(1, 2, 0).to(self.factors.dtype)
        solved = torch.cholesky_solve(columns, self.factors)
        if self.joint is not None:
            level = columns.mean(0) / self.l2
            columns = columns - torch.cholesky_solve(solved.sum(0), self.joint)
            solved = torch.cholesky_solve(columns, self.factors, out=solved).add_(level)
        return solved.permute(2, 0, 1).to(vectors.dtype)


@final
@dataclass(frozen=True, slots=True, eq=False)
class InversePreconditioner:
    """The inverse (P', P') of a Hessian nearby."""

    inverse: Tensor

    def __call__(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Of vectors (r, F, D); the same for all units."""
        return (vectors.flatten(1).to(self.inverse.dtype) @ self.inverse).view_as(vectors).to(vectors.dtype)


def block_preconditioner(problem: LinearProblem, params: Tensor) -> BlockPreconditioner:
    """From Σ_j a_j v_jc x_jx_jᵀ + l2·I of every output c, v the variance at `params`; of a model that sees all outputs.

    In float32: what it is multiplied by need only be near the inverse.
    """
    n_outputs, n_features = params.shape
    blocks = torch.zeros(n_outputs, n_features, n_features, dtype=torch.float32, device=params.device)
    for start in range(0, len(problem.inputs), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        variances = problem.weigh(problem.likelihood.variance(problem.state_of(params, problem.inputs_of(rows))), rows).float()
        inputs, everyone = problem.inputs[rows].float(), torch.arange(len(variances), device=params.device)
        terms = [terms_that_matter(everyone, variance, LEFT_OUT) for variance in variances.T]
        for block, added in zip(blocks, squares(inputs, terms), strict=True):
            block.add_(added)
    l2 = problem.objective.l2(problem.total)
    blocks.diagonal(dim1=1, dim2=2).add_(l2)
    factors = float32_factor(blocks)
    if problem.likelihood.sees_level:
        return BlockPreconditioner(factors, None, l2)
    joint = torch.zeros_like(factors[0])
    for factor in factors:
        joint += torch.cholesky_inverse(factor)
    return BlockPreconditioner(factors, float32_factor(joint), l2)


def float32_factor(matrices: Tensor) -> Tensor:
    """Cholesky factors of parts (…, m, m) of a Hessian.

    Raises:
        ConvergenceError: where one is not positive definite in float32.
    """
    factors, info = torch.linalg.cholesky_ex(matrices)
    require_positive(bool((info != 0).any()))
    return factors


def require_positive(failed: bool) -> None:
    """Refuses what could not be factorised in float32.

    Raises:
        ConvergenceError: where it failed.
    """
    if failed:
        raise ConvergenceError(
            "A part of the Hessian is not positive definite in float32: the weight decay is too small for features of this "
            "scale. Use a larger weight decay, or standardize the features."
        )


def fit_without_hessian(problem: LinearProblem, advance: Callable[[], None] = lambda: None) -> KrylovFit:
    """The optimum, as near as `truncated_newton` comes; of a model that sees all outputs.

    Raises:
        ConvergenceError: when that does not get there.
        InputError: when the squares of the inputs overflow.
    """
    rough = rough_map(problem, spectrum_of(problem.inputs, problem.weights), None)
    blocks = block_preconditioner(problem, rough)
    found = truncated_newton(problem, rough, blocks, advance)
    return KrylovFit(found.point.params, blocks, float(found.point.gradient.norm()) / problem.total, found.n_steps)


@dataclass(frozen=True, slots=True, eq=False)
class InverseFit:
    """A converged optimum, and the inverse of the Hessian with which samples leave it.

    Attributes:
        params: (F, D).
        inverse: (P', P') of the Hessian of all samples at the L2 strength that is left when one of mean weight leaves, at
            `params` or within a relative step of 1e-6 of it.
        grad_norm: norm of the gradient of the mean-form objective.
        n_iterations: evaluations of L-BFGS and Newton steps together.
    """

    params: Tensor
    inverse: Tensor
    grad_norm: float
    n_iterations: int


def fit_with_inverse(
    problem: LinearProblem,
    dtype: str | None = None,
    made: torch.dtype = torch.float64,
    advance: Callable[[], None] = lambda: None,
) -> InverseFit:
    """The optimum as `fit_map` finds it, for one Hessian, inverted in its place: that preconditions the steps to the optimum.

    `dtype`: of the inverse, as in `inverse_of`; `made`: in what the Hessian is summed and inverted where that suits it, as in
    `hessian_dtype` (gradients are in float64, and so the optimum is exact); `advance`: called once an iteration.

    Raises:
        ConvergenceError: when the steps do not get there, or the Hessian is not positive definite in float64.
        InputError: when the squares of the inputs overflow.
    """
    near, n_evaluations = whitened_map(problem, advance)
    inverse = _inverse_at(problem, near, dtype, made)
    found = truncated_newton(problem, near, InversePreconditioner(inverse), advance)
    params, grad_norm, n_steps = found.point.params, float(found.point.gradient.norm()), found.n_steps
    if float((params - near).norm()) > STALE_STEP * float(params.norm()):
        del inverse, found  # which holds it
        inverse = _inverse_at(problem, params, dtype, made)
    return InverseFit(params, inverse, grad_norm / problem.total, n_evaluations + n_steps)


def _inverse_at(problem: LinearProblem, params: Tensor, dtype: str | None, made: torch.dtype) -> Tensor:
    """The inverse of an `InverseFit`."""
    if made == torch.float32:
        least = problem.objective.l2_without(problem.total, mean_weight(problem))
        found = float32_inverse(leaving_hessian(problem, params, made), float(least))
        if found is not None:
            return found
    return inverse_of(leaving_hessian(problem, params), dtype)


@final
@dataclass(frozen=True, slots=True, eq=False)
class KrylovSolver:
    """H⁻¹ by conjugate gradients, to a hundredth, H the Hessian of `problem` at `params` (F, D)."""

    problem: LinearProblem
    params: Tensor
    precondition: Operator

    def __call__(self, gradient: Tensor) -> Tensor:
        """Times a gradient (F, D)."""
        return hessian_solve(self.problem, self.params, gradient, self.precondition, tolerance=FORCING).value[0]


def truncated_newton(
    problem: LinearProblem, start: Tensor, precondition: Operator, advance: Callable[[], None] = lambda: None
) -> Converged[KrylovSolver]:
    """The optimum by Newton steps without a Hessian, from `start` (F, D), as near as `newton_steps` comes.

    `precondition`: about the inverse of the Hessian, wherever the steps lead.

    Raises:
        ConvergenceError: when they do not get there.
    """
    return newton_steps(problem, start, lambda params: KrylovSolver(problem, params, precondition), advance)


def refitted(problem: LinearProblem, params: Tensor, shift: Tensor, precondition: Operator) -> tuple[Tensor, Tensor]:
    """The optimum of a problem minus `params` (F, D), and what remains of that, relative.

    From params + `shift`, where that is finite; `precondition` and errors as in `truncated_newton`.
    """
    start = params + shift
    near = start if bool(start.isfinite().all()) else params
    found = truncated_newton(problem, near, precondition).point.params - params
    return found, STEP_TOLERANCE * params.norm() / found.norm()


def hessian_solve(
    problem: LinearProblem, params: Tensor, right: Tensor, precondition: Operator, *, tolerance: float, drop: float = 0.0
) -> Solution:
    """H⁻¹·right (1, F, D) for right (F, D), H the Hessian at `params` with an L2 strength lower by `drop`."""
    nobody = torch.empty(1, 0, dtype=torch.int64, device=params.device)
    return conjugate_gradients(
        lambda vectors, _: problem.hessian_product(nobody, params, vectors) - drop * vectors,
        right[None],
        precondition,
        tolerance=tolerance,
        max_iterations=PRODUCTS,
    )
