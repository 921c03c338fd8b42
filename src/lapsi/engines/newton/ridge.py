"""Numbers whose noise variance is found anew from the samples that stay (docs/math.md, Likelihoods and weights).

Ridge regression in the eigenbasis of XᵀAX = Q diag(s) Qᵀ, u = Qᵀx, c = QᵀXᵀAy: without sample i the strength λ = l2'·σ² and
σ² = RSS/(W − a − df) are a fixed point, each step by the Sherman–Morrison formula in O(D) a sample and output.
Legend of the indices: n sample that leaves, c output, k direction of the eigenbasis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.linear import settled_curvature
from lapsi.engines.base import Fit, Part, Units, parts_of
from lapsi.errors import ConvergenceError
from lapsi.execution.checkpoint import Arrays
from lapsi.execution.progress import Advance
from lapsi.models.likelihoods.gaussian import Gaussian
from lapsi.precision.divergence import of_order
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import CONVERGED, Removed
from lapsi.settings.settings import Settings
from lapsi.training.newton import MapFit
from lapsi.training.noise import LEAST, residual_noise, ridges_of

TOLERANCE = 1e-13
ITERATIONS = 200
CHUNK_ENTRIES = 2**22
PART_UNITS = 2**14  # rows take microseconds each
REMAINING = 1e-12


@final
@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit(Fit):
    """The optimum of all samples, in the eigenbasis of the inputs; build it with `ridge_fit`.

    Attributes:
        optimum: of all samples, at their noise variance.
        curvature: of the posterior there.
        values, vectors: s (D,) and Q (D, D).
        loadings: c (K, D).
        squares: Σ a y² (K,).
    """

    optimum: MapFit
    curvature: Curvature
    values: Tensor
    vectors: Tensor
    loadings: Tensor
    squares: Tensor

    @property
    def problem(self) -> LinearProblem:
        return self.optimum.problem

    @property
    def reference_name(self) -> str:
        return self.curvature.form

    def parts(self, n_units: int) -> list[Part]:
        return parts_of("seed0", np.arange(n_units), PART_UNITS)

    def further(self, done: Sequence[Part], found: Arrays, advance: Advance) -> list[Part]:
        return []

    def mending(self, positions: np.ndarray) -> list[Part]:
        return []

    def later_steps(self, n_units: int) -> int:
        return 0

    def remove(self, units: Units, part: Part, advance: Advance) -> Iterator[Removed]:
        """Single samples many at once; groups one by one, as `reference` does."""
        own = part.units_of(units)
        if not isinstance(own, Tensor):
            for removed in self.reference(own):
                advance(1)
                yield removed
            return
        rows = own[:, 0]
        size = max(1, CHUNK_ENTRIES // self.loadings.numel())
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            advance(len(chunk))
            yield self._removed(chunk[:, None], np.arange(start, start + len(chunk)), *self._without(chunk))

    def reference(self, units: Units) -> Iterator[Removed]:
        """One at a time: noise and ridge regression of the samples that stay."""
        for position, rows in enumerate(units):
            params, noise = _refit(self.problem.remove(rows))
            yield self._removed(rows[None], np.array([position]), (params - self.optimum.params)[None], noise[None])

    def n_checks(self, verify: int, n_units: int) -> int:
        return min(verify, n_units)

    def record(self, params: Tensor) -> dict[str, Any]:
        return {"dtype": "float64", "grad_norm": self.optimum.grad_norm, "n_iterations": self.optimum.n_iterations}

    def _without(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Shifts (n, K, D) and noise variances (n, K) without each of the samples `rows` (n,)."""
        problem, total = self.problem, self.problem.total
        inputs, weights = problem.inputs_of(rows) @ self.vectors, weight_of(problem, rows)[:, None]
        targets = problem.targets[rows]
        right = self.loadings - (weights * targets)[:, :, None] * inputs[:, None, :]
        l2 = problem.objective.l2_without(total, weights)
        noise = _noise_of(problem).expand(len(rows), -1)
        for _ in range(ITERATIONS):
            strength = l2 * noise
            inverse = 1 / (self.values + strength[:, :, None])
            pulled = inverse * inputs[:, None, :]
            left = 1 - weights * torch.einsum("nck,nk->nc", pulled, inputs)
            own = weights * torch.einsum("nck,nck->nc", pulled, right) / left
            params = inverse * right + own[:, :, None] * pulled
            rss = self.squares - weights * targets.square() - 2 * torch.einsum("nck,nck->nc", params, right)
            rss += params.square() @ self.values - weights * torch.einsum("nck,nk->nc", params, inputs).square()
            free = len(self.values) - strength * (inverse.sum(2) + weights * pulled.square().sum(2) / left)
            found = (rss / (total - weights - free)).clamp(min=LEAST)
            gap, noise = float((found / noise - 1).abs().amax()), found
            if gap <= TOLERANCE:
                return params @ self.vectors.T - self.optimum.params, noise
        raise ConvergenceError(
            f"The noise variance without a sample did not settle in {ITERATIONS} steps (last change {gap:.1e}). Hold it "
            "(noise_removal 'held'), or use a larger weight decay."
        )

    def _removed(self, units: Tensor, positions: np.ndarray, shift: Tensor, noise: Tensor) -> Removed:
        problem, params = self.problem, self.optimum.params
        outputs = problem.model.outputs(params + shift, problem.inputs_of(units))
        change = problem.own_output_change(units, shift).abs().amax((1, 2))
        remaining = torch.full((len(shift),), REMAINING, dtype=torch.float64)
        removed = Removed(units, positions, params, shift, outputs, CONVERGED, remaining, {"output_change": change})
        return replace(removed, hessian_scale=_noise_of(problem) / noise)


def ridge_fit(optimum: MapFit, settings: Settings) -> RidgeFit:
    """For numbers, and a posterior of the structure that the settings name."""
    problem = optimum.problem
    values, vectors = torch.linalg.eigh(problem.gram())
    loadings = (problem.weigh(problem.targets, slice(None)).T @ problem.inputs.double()) @ vectors
    squares = problem.weigh(problem.targets.square(), slice(None)).sum(0)
    curvature = settled_curvature(problem, optimum.params, settings.curvature).by(of_order(settings.order))
    return RidgeFit(optimum, curvature, values.clamp(min=0), vectors, loadings, squares)


def _noise_of(problem: LinearProblem) -> Tensor:
    assert isinstance(problem.likelihood, Gaussian)
    return problem.likelihood.noise_variance


def _refit(problem: LinearProblem) -> tuple[Tensor, Tensor]:
    """Params (K, D) and noise variance (K,) of the samples that are there."""
    kept = np.ones(len(problem.inputs), dtype=bool)
    kept[[] if problem.removed is None else problem.removed.cpu().numpy()] = False
    inputs, targets = problem.inputs.double().cpu().numpy()[kept], problem.targets.cpu().numpy()[kept]
    weights = np.ones(len(inputs)) if problem.weights is None else problem.weights.cpu().numpy()[kept]
    noise = [residual_noise(ridge, problem.objective.weight_decay) for ridge in ridges_of(inputs, targets, weights)]
    gram, right = (inputs.T * weights) @ inputs, (inputs.T * weights) @ targets
    strength = [problem.objective.l2(problem.total) * each for each in noise]
    solved = [np.linalg.solve(gram + each * np.eye(len(gram)), right[:, k]) for k, each in enumerate(strength)]
    return torch.from_numpy(np.stack(solved)), torch.tensor(noise, dtype=torch.float64)
