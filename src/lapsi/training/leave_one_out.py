"""How well the linear model predicts what it did not see, and how probable the targets are under its prior, at one fit.

The model without a copy of sample i is a Newton step away (`lapsi.engines.newton.steps`); its own outputs alone move by
    Jᵀshift = (I − K S)⁻¹ (K r + Δl2·JᵀH⁻¹params),  K = JᵀH⁻¹J, J = V ⊗ x_i.
A sample of weight a > 1 counts as a copies: one leaves, and its loss counts a times, as those of the copies would. Legend of
the indices: n sample, a b direction of the basis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.linalg.woodbury import influence_columns, leverage
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import MapFit

CHUNK_BYTES = 128 * 2**20
SQUARES = 6  # matrices of the outputs that are held for a sample
FOLDS = 5
AMPLIFIED = {torch.float64: 1e5, torch.float32: 1e3}  # rounding of H⁻¹, at most


@dataclass(frozen=True, slots=True)
class Average:
    """A weighted mean over samples and its standard error."""

    mean: float
    error: float


def copies(problem: LinearProblem, rows: Tensor) -> Tensor:
    """min(a, 1) of samples `rows` (n,): what leaves of each."""
    return weight_of(problem, rows).clamp(max=1)


def copy_hessian(fit: MapFit) -> Tensor:
    """The Hessian (P', P') at the L2 strength that is left when one copy leaves, on average over the weight."""
    problem = fit.problem
    rows = torch.arange(len(problem.inputs), device=problem.inputs.device)
    mean_copy = float((weight_of(problem, rows) * copies(problem, rows)).sum()) / problem.total
    hessian = fit.hessian.clone()
    hessian.diagonal().sub_(problem.objective.l2_drop(mean_copy))
    return hessian


def leave_one_out_losses(problem: LinearProblem, params: Tensor, inverse: Tensor, rows: Tensor) -> Tensor:
    """Losses (n,) of samples `rows` under the models without one copy of each.

    Args:
        problem, params: with all samples, and its optimum (F, D).
        inverse: (P', P') of `copy_hessian`.
        rows: (n,).

    Raises:
        ConvergenceError: when the model follows one of them so closely that rounding would decide its loss.
    """
    basis, whole = problem.likelihood.basis, (inverse @ params.flatten().to(inverse.dtype)).view_as(params).double()
    columns_bytes = inverse.itemsize * problem.model.n_directions * len(inverse)
    size = max(16, CHUNK_BYTES // (columns_bytes + SQUARES * 8 * len(basis) ** 2))

    def losses(part: Tensor) -> Tensor:
        inputs = problem.inputs_of(part)
        gram = leverage(influence_columns(inverse, inputs), inputs)
        return _losses(problem, params, part, Influence(basis, gram, inputs @ whole.T, AMPLIFIED[inverse.dtype]))

    return torch.cat([losses(part) for part in rows.split(size)])


def cross_validated_losses(problem: LinearProblem, params: Tensor, refit: Callable[[LinearProblem, Tensor], Tensor]) -> Tensor:
    """Losses (N,) of all samples under models of the other folds, with the same prior precision.

    Args:
        problem, params: with all samples, and its optimum (F, D).
        refit: from a problem and a point near to its optimum.
    """
    held = with_prior_held(problem)
    losses = params.new_empty(len(problem.inputs))
    for fold in range(FOLDS):
        rows = torch.arange(fold, len(losses), FOLDS, device=losses.device)
        outputs = problem.outputs(refit(held.remove(rows), params), rows)
        losses[rows] = problem.likelihood.loss(outputs, problem.targets[rows])
    return losses


def with_prior_held(problem: LinearProblem) -> LinearProblem:
    """The same, whose prior precision stays when samples leave."""
    return replace(problem, objective=replace(problem.objective, removal="sum"))


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """How samples (n,) bend their own fit.

    Attributes:
        basis: (K, F) the directions of the outputs in which it is told.
        gram: K (n, F, F).
        pull: JᵀH⁻¹params (n, F).
        amplified: by how much rounding may be.
    """

    basis: Tensor
    gram: Tensor
    pull: Tensor
    amplified: float


def _losses(problem: LinearProblem, params: Tensor, rows: Tensor, own: Influence) -> Tensor:
    likelihood, targets, basis, gram = problem.likelihood, problem.targets[rows], own.basis, own.gram
    leaving, outputs = copies(problem, rows), problem.outputs(params, rows)
    state = likelihood.state(outputs)
    residual = leaving[:, None] * (likelihood.residual(state, targets) @ basis)
    hessians = leaving[:, None, None] * (basis.T @ likelihood.hessian(state) @ basis)
    projection = torch.einsum("nab,nb->na", gram, residual) + problem.objective.l2_drop(leaving)[:, None] * own.pull
    reaction = torch.linalg.inv(torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device) - gram @ hessians)
    amplified = float(reaction.abs().sum(2).max())
    if not amplified < own.amplified:
        raise ConvergenceError(
            f"The model follows a sample so closely that its leave-one-out loss has no digits left (rounding is amplified "
            f"{amplified:.0e} times); use a larger weight decay."
        )
    change = torch.einsum("nab,nb->na", reaction, projection)
    return likelihood.loss(outputs + change @ basis.T, targets)


def average(losses: Tensor, weights: Tensor) -> Average:
    """Σ a·loss/Σ a of n samples, and its standard error."""
    total = weights.sum()
    mean = (weights * losses).sum() / total
    return Average(float(mean), float((weights * (losses - mean)).square().sum().sqrt() / total))


def log_evidence(fit: MapFit, factor: Tensor) -> float:
    """ln p(targets) in Laplace's approximation, the weight decay read as prior N(0, δ⁻¹), δ = W·w (MacKay 1992).

    −Σ a_j loss_j − (δ/2)‖θ‖² + (P'/2) ln δ − ½ ln det H; directions that the loss does not see add ½ ln δ − ½ ln δ = 0.

    Args:
        fit: at the optimum.
        factor: Cholesky factor of its Hessian H (P', P'), l2 included.
    """
    problem, prior = fit.problem, fit.problem.objective.l2(fit.problem.total)
    value = float(problem.value_and_gradient(fit.params)[0])
    return 0.5 * problem.model.n_params * math.log(prior) - float(factor.diagonal().log().sum()) - value
