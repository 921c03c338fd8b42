"""The second-order term that the closed form leaves out, summed over the samples nearest to the one that leaves.

The gradient without the sample at the closed form is Σ_j (Δr_j − S_jΔz_j) ⊗ x_j over the others, and few of them make most of
it: those most similar to x_i under the Hessian at params = 0 (docs/math.md, Leave-one-out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.engines.removal.base import Removal, Step
from lapsi.linalg.matmul import matmul
from lapsi.problem.linear import LinearProblem

NEIGHBOURS = 2000
SIMILARITY_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """What finding neighbours takes; build it with `neighbours_of`.

    Attributes:
        problem: with all samples.
        inputs, state: (N, D), (N, K), in the dtype of the large products, or inputs in float32 where they are held so.
        metric: (D, D) inverse of the Hessian at params = 0.
    """

    problem: LinearProblem
    inputs: Tensor
    state: Tensor
    metric: Tensor

    def correction(self, removal: Removal, shift: Tensor) -> Tensor:
        """One more step (n, F, D) from the closed form `shift` of samples that leave."""
        problem, likelihood = self.problem, self.problem.likelihood
        weights = problem.model.by_output(shift)
        gradient = torch.zeros_like(weights)
        for position, near in enumerate(self._nearest(removal.rows)):
            inputs, state = self.inputs.index_select(0, near).to(weights.dtype), self.state.index_select(0, near)
            output_change = (weights[position] @ inputs.T).T
            remainder = likelihood.residual_change(state, output_change)
            remainder -= likelihood.residual_derivative(state, output_change)
            gradient[position] = remainder.T @ problem.weigh(inputs, near)
        return removal.solve(torch.einsum("nck,cm->nmk", gradient, likelihood.basis.to(gradient.dtype)))

    def _nearest(self, rows: Tensor) -> Iterator[Tensor]:
        """The samples (k,) most similar to each of the samples `rows` (n,)."""
        for part in rows.split(max(1, SIMILARITY_BYTES // (self.inputs.itemsize * len(self.inputs)))):
            similarity = matmul(self.inputs[part] @ self.metric, self.inputs.T).abs_()
            similarity[torch.arange(len(part), device=part.device), part] = -1.0
            nearest = similarity.topk(min(NEIGHBOURS, self.problem.n_samples - 1), sorted=False).indices
            yield from nearest.sort(1).values  # read in order, rows of the inputs take a third of the time


def neighbours_of(step: Step) -> Neighbours:
    """For the samples of a problem; inputs that are held in float32 stay so."""
    problem, dtype = step.problem, step.dtype
    inputs = problem.inputs if problem.inputs.dtype == torch.float32 else problem.inputs.to(dtype)
    metric = torch.linalg.inv(problem.start_hessian()).to(inputs.dtype)
    return Neighbours(problem, inputs, problem.states(step.params, dtype), metric)
