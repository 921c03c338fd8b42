"""The closed-form engine: one exact Newton step of the objective without the sample (MATH §3), refined where asked.

With H the Hessian at the L2 strength that is left, J = I ⊗ x_i and K = JᵀH⁻¹J:
    shift = (H − J S Jᵀ)⁻¹ (r_i ⊗ x_i + Δl2·map_params) = H⁻¹b + Y S (I − K S)⁻¹ JᵀH⁻¹b,  Y = H⁻¹J.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.engines.base import LooChunk
from lapsi.linalg.matmul import matmul
from lapsi.linalg.woodbury import combine, downdate, influence_columns, leverage, reaction
from lapsi.models.likelihoods.softmax import logit_hessian, probability_change, probability_derivative, residual
from lapsi.problem.linear import Problem
from lapsi.training.newton import fit_map

CHUNK_BYTES = 384 * 2**20
SHIFT_TOLERANCE = 1e-10
REFINED_TOLERANCE = 1e-5
REFINED_CHUNK = 128
NEIGHBOURS = 2000
CHORD_STEPS = 16


@dataclass(frozen=True, slots=True)
class NewtonEngine:
    """Leave-one-out Newton steps from a converged fit.

    Attributes:
        problem, map_params: where the steps start.
        inverse: H⁻¹ (P', P'), in the dtype of the large products.
        refine: chord-Newton steps after the first.
    """

    problem: Problem
    map_params: Tensor
    inverse: Tensor
    refine: int

    def __call__(self, indices: Tensor) -> Iterator[LooChunk]:
        """Chunks of leave-one-out results for samples `indices` (n,), in their order."""
        size = min(len(indices), chunk_size(self.problem, self.inverse.dtype))
        workspace = self.inverse.new_empty(self.problem.probe.n_classes - 1, size, len(self.inverse))
        for part in indices.split(size):
            removal = Removal.of(self, part, workspace)
            shift = removal.newton_step()
            for _ in range(self.refine):
                shift = shift - removal.chord_step(shift)
            yield self._chunk(removal, shift)

    def refined(self, indices: Tensor) -> Iterator[LooChunk]:
        """The same with chord-Newton steps for each sample until what remains is about 1e-5 of the shift."""
        for part in indices.split(min(REFINED_CHUNK, chunk_size(self.problem, torch.float64))):
            removal = Removal.of(self, part)
            yield self._chunk(removal, self._settle(removal, REFINED_TOLERANCE))

    def corrected(self, indices: Tensor) -> Iterator[LooChunk]:
        """The closed form and the second-order term that it leaves out, summed over the samples nearest to the removed one.

        The gradient without the sample at the closed form is Σ_j (Δp_j − S_jΔz_j) ⊗ x_j over the others, and few of them
        make most of it: those most similar to x_i under the Hessian at params = 0.
        """
        problem, dtype = self.problem, self.inverse.dtype
        inputs = problem.inputs.to(dtype)
        probabilities = problem.probabilities_of(self.map_params, problem.inputs).to(dtype)
        metric = torch.linalg.inv(problem.start_hessian()).to(dtype)
        n_neighbours = min(NEIGHBOURS, problem.n_samples - 1)
        for part in indices.split(min(REFINED_CHUNK, chunk_size(problem, dtype))):
            removal = Removal.of(self, part)
            shift = removal.newton_step()
            similarity = matmul(inputs[part] @ metric, inputs.T).abs_()
            similarity[torch.arange(len(part), device=part.device), part] = -1.0
            rows = similarity.topk(n_neighbours, sorted=False).indices
            weights = problem.probe.weights(shift)
            gradient = torch.zeros_like(weights)
            for row, near in enumerate(rows):
                near_inputs, near_probabilities = inputs.index_select(0, near), probabilities.index_select(0, near)
                logit_change = (weights[row] @ near_inputs.T).T
                remainder = probability_change(near_probabilities, logit_change)
                remainder -= probability_derivative(near_probabilities, logit_change)
                gradient[row] = remainder.T @ near_inputs
            in_contrasts = torch.einsum("nck,cm->nmk", gradient, problem.probe.basis.to(dtype))
            yield self._chunk(removal, shift - removal.solve(in_contrasts))

    def converge(self, indices: Tensor) -> Tensor:
        """Shifts (n, C−1, D) float64 to the leave-one-out optima themselves, to a relative 1e-10."""
        parts = indices.split(chunk_size(self.problem, torch.float64))
        return torch.cat([self._settle(Removal.of(self, part), SHIFT_TOLERANCE) for part in parts])

    def _settle(self, removal: Removal, tolerance: float) -> Tensor:
        """Shifts to `tolerance` in float64; a sample whose steps do not contract is fitted anew without it."""
        shift, converged = removal.approach(tolerance)
        for row in torch.nonzero(~converged).flatten().tolist():
            without = self.problem.without(removal.indices[row : row + 1])
            shift[row] = fit_map(without, self.map_params + shift[row]).params - self.map_params
        return shift

    def _chunk(self, removal: Removal, shift: Tensor) -> LooChunk:
        logits = removal.logits + self.problem.own_logit_change(removal.indices, shift)
        return LooChunk(removal.indices, shift, logits, torch.einsum("nab,nba->n", removal.hessians, removal.gram))


@dataclass(frozen=True, slots=True)
class Removal:
    """What the steps of one chunk of removed samples share: Y, K, S and r (shapes as in `woodbury`)."""

    engine: NewtonEngine
    indices: Tensor
    inputs: Tensor
    logits: Tensor
    columns: Tensor
    gram: Tensor
    hessians: Tensor

    @classmethod
    def of(cls, engine: NewtonEngine, indices: Tensor, workspace: Tensor | None = None) -> Removal:
        """Of samples `indices` (n,); `workspace` as in `influence_columns`."""
        problem = engine.problem
        inputs = problem.inputs[indices]
        logits = problem.probe.logits(engine.map_params, inputs)
        columns = influence_columns(engine.inverse, inputs, workspace)
        hessians = problem.to_contrasts(logit_hessian(torch.softmax(logits, -1)))
        return cls(engine, indices, inputs, logits, columns, leverage(columns, inputs), hessians)

    def newton_step(self) -> Tensor:
        """The first shift (n, C−1, D), from the optimum of all samples; H⁻¹(r ⊗ x) is Y r."""
        engine, problem = self.engine, self.engine.problem
        contrasts = residual(torch.softmax(self.logits, -1), problem.labels[self.indices]) @ problem.probe.basis
        decay = problem.objective.l2_drop() * engine.map_params.flatten().to(engine.inverse.dtype)
        whole = (engine.inverse @ decay).view_as(engine.map_params)
        projection = torch.einsum("nab,nb->na", self.gram, contrasts) + self.inputs @ whole.double().T
        return combine(self.columns, contrasts + reaction(self.gram, self.hessians, projection)) + whole

    def chord_step(self, shift: Tensor) -> Tensor:
        """`solve` of the gradient without the sample at `shift`; computed in the dtype of `shift`."""
        return self.solve(self.engine.problem.gradient_without(self.indices, self.engine.map_params, shift))

    def solve(self, gradient: Tensor) -> Tensor:
        """(H − J S Jᵀ)⁻¹ of one gradient (n, C−1, D) a sample, in the dtype of the gradient."""
        inverse = self.engine.inverse
        solved = (gradient.flatten(1).to(inverse.dtype) @ inverse).view_as(gradient)
        projection = torch.einsum("nmk,nk->nm", solved.double(), self.inputs)
        return (solved + downdate(self.columns, self.gram, self.hessians, projection)).to(gradient.dtype)

    def approach(self, tolerance: float) -> tuple[Tensor, Tensor]:
        """Chord-Newton steps in float64 until what remains is below `tolerance` relative to the shift.

        Steps that shrink by a factor ρ leave step·ρ/(1 − ρ) to go. A sample whose steps do not shrink rests where it was.

        Returns:
            Shifts (n, C−1, D), and whether each got there (n,).
        """
        shift = self.newton_step().double()
        last = torch.full((len(shift),), torch.inf, dtype=torch.float64, device=shift.device)
        active = torch.ones(len(shift), dtype=torch.bool, device=shift.device)
        converged = ~active
        for _ in range(CHORD_STEPS):
            step = self.chord_step(shift)
            size = step.flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1)
            active &= size < last
            shift = shift - torch.where(active[:, None, None], step, 0.0)
            remaining = torch.where(last.isinf(), size, size.square() / (last - size))
            converged |= active & (remaining <= tolerance)
            active &= ~converged
            if not bool(active.any()):
                break
            last = size
        return shift, converged


def chunk_size(problem: Problem, dtype: torch.dtype) -> int:
    """Samples a chunk, so that Y, what is computed from it and the matrices of the classes stay within a fixed size."""
    probe = problem.probe
    per_sample = probe.n_params * (dtype.itemsize * probe.n_classes + 8 * 8) + 8 * 8 * probe.n_classes**2
    return max(16, CHUNK_BYTES // per_sample)
