"""TRAK's attribution (Park et al. 2023) of a linear softmax probe, in closed form and without a projection.

With f = ln p_y/(1 − p_y), its gradient φ = (e_y − q) ⊗ x, q the probabilities of the other classes among themselves, and
K = ΦᵀΦ + N w I:

    τᵢ = φ̄ᵀ K⁻¹ φᵢ (1 − pᵢ),   φ̄ the mean over the targets

The paper's number of a sample is the mean of its scores over all targets; the targets are the training samples themselves.

Legend of the indices: n sample, c class, k feature.
"""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lapsi.errors import ConvergenceError
from lapsi.execution.progress import Advance
from lapsi.linalg.conjugate_gradients import conjugate_gradients
from lapsi.measures.base import Labelled, Measure
from lapsi.problem.linear import LinearProblem
from lapsi.results.columns import Column
from lapsi.training.newton import rough_map, spectrum_of

FIT_TOLERANCE = 1e-10
TOLERANCE, MOST_STEPS = 1e-8, 2000


@final
class Trak(Measure):
    """Of the optimum of the probe."""

    name: ClassVar[str] = "trak"
    needs_linear: ClassVar[bool] = True
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "trak",
            "TRAK",
            "TRAK's attribution, mean over the training samples as targets: how much it helps to predict them",
            "trak",
            ".2e",
            direction="high",
        ),
    )

    def n_steps(self, data: Labelled) -> int:
        return 1

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        problem = data.problem
        linear = LinearProblem(problem.inputs, problem.targets, problem.likelihood, problem.objective)
        params = rough_map(linear, spectrum_of(problem.inputs, None), None, FIT_TOLERANCE)
        weights = linear.plain_params(params).view(data.n_classes, -1)
        state = problem.likelihood.state(data.inputs @ weights.T)
        residual, miss = _output_gradient(problem.likelihood.residual(state, data.labels), data.labels)
        attribution = _attributed(residual, data.inputs, problem.objective.l2(problem.total))
        advance(1)
        return {"trak": (attribution * miss).numpy(force=True)}


def _output_gradient(residual: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """e_y − q (N, C), and 1 − p_y (N,), of p − e_y (N, C)."""
    miss = -residual.gather(1, labels[:, None])
    share = residual / miss.clamp(min=torch.finfo(residual.dtype).tiny)
    return (-share).scatter(1, labels[:, None], 1.0), miss[:, 0]


def _attributed(residual: Tensor, inputs: Tensor, ridge: float) -> Tensor:
    """φᵢᵀ K⁻¹ φ̄ (N,) of φ = residual (N, C) ⊗ inputs (N, D), by conjugate gradients on K, which is never formed.

    Raises:
        ConvergenceError: when these do not arrive.
    """
    n, shape = len(inputs), (residual.shape[1], inputs.shape[1])

    def along(vector: Tensor) -> Tensor:
        """φᵢᵀ v (N,)."""
        return ((inputs @ vector.view(shape).T) * residual).sum(1)

    def back(weights: Tensor) -> Tensor:
        """Σ wᵢ φᵢ (C·D,)."""
        return ((residual * weights[:, None]).T @ inputs).flatten()

    def times(vectors: Tensor, active: Tensor) -> Tensor:
        return torch.stack([back(along(vector)) + ridge * vector for vector in vectors])

    # K is nearly the Kronecker product of the means of both factors
    outer, inner = residual.T @ residual / n, inputs.T @ inputs
    (outer_values, outer_vectors), (inner_values, inner_vectors) = (torch.linalg.eigh(each) for each in (outer, inner))
    diagonal = outer_values.clamp(min=0.0)[:, None] * inner_values.clamp(min=0.0) + ridge

    def precondition(vectors: Tensor, active: Tensor) -> Tensor:
        turned = outer_vectors.T @ vectors.view(-1, *shape) @ inner_vectors / diagonal
        return (outer_vectors @ turned @ inner_vectors.T).flatten(1)

    target = back(residual.new_full((n,), 1 / n))[None]
    found = conjugate_gradients(times, target, precondition, tolerance=TOLERANCE, max_iterations=MOST_STEPS)
    if not float(found.residual.max()) <= TOLERANCE:
        raise ConvergenceError(
            f"TRAK's kernel was solved to {float(found.residual.max()):.1e}, not to {TOLERANCE:.0e}, in {MOST_STEPS} steps; "
            "use a larger weight decay."
        )
    return along(found.value[0])
