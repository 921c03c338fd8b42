"""One exact Newton step of the objective without a sample, and chord-Newton steps after it (docs/math.md, Leave-one-out).

With H the Hessian at the L2 strength that is left, J = V ⊗ x_i and K = JᵀH⁻¹J, r and S of the sample times its weight:
    shift = (H − J S Jᵀ)⁻¹ (r_i ⊗ x_i + Δl2·params) = H⁻¹b + Y S (I − K S)⁻¹ JᵀH⁻¹b,  Y = H⁻¹J.

It is the one-step approximate leave-one-out of Pregibon (1981) and Rad and Maleki (2020). Legend of the indices: n sample that
leaves, m direction of the basis, k feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lapsi.linalg.woodbury import combine, downdate, influence_columns, leverage, reaction
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem
from lapsi.training.newton import STEP_TOLERANCE, fit_map

CHUNK_BYTES = 384 * 2**20
CHORD_STEPS = 16
ROUNDING_BELOW = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """Where the steps start.

    Attributes:
        problem: with all samples.
        params: (F, D) its optimum.
        inverse: H⁻¹ (P', P'), in the dtype of the large products.
    """

    problem: LinearProblem
    params: Tensor
    inverse: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Approach:
    """How far chord steps came.

    Attributes:
        shift: (n, F, D).
        remaining: (n,) what remains, relative to the shift; infinite for each that did not get there.
        step: (n, F, D) the last step, which was subtracted.
    """

    shift: Tensor
    remaining: Tensor
    step: Tensor

    def part(self, chosen: Tensor) -> Approach:
        """The same for some of the samples: where `chosen` (n,) is true."""
        return Approach(self.shift[chosen], self.remaining[chosen], self.step[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What the steps of a chunk of samples that leave share: Y, K, S (shapes as in `woodbury`); build it with `removal_of`."""

    optimum: Optimum
    rows: Tensor
    inputs: Tensor
    outputs: Tensor
    columns: Tensor
    gram: Tensor
    hessians: Tensor
    weights: Tensor

    @property
    def units(self) -> Tensor:
        """(n, 1): each sample leaves alone."""
        return self.rows[:, None]

    def newton_step(self) -> Tensor:
        """The first shift (n, F, D), from the optimum of all samples; H⁻¹(r ⊗ x) is Y r."""
        optimum, problem = self.optimum, self.optimum.problem
        likelihood = problem.likelihood
        residual = likelihood.residual(likelihood.state(self.outputs), problem.targets[self.rows]) @ likelihood.basis
        residual = self.weights[:, None] * residual
        whole = (optimum.inverse @ optimum.params.flatten().to(optimum.inverse.dtype)).view_as(optimum.params)
        drop = problem.objective.l2_drop(self.weights)
        projection = torch.einsum("nab,nb->na", self.gram, residual) + drop[:, None] * (self.inputs @ whole.double().T)
        shift = combine(self.columns, residual + reaction(self.gram, self.hessians, projection))
        return shift + drop[:, None, None].to(whole.dtype) * whole

    def chord_step(self, shift: Tensor) -> Tensor:
        """`solve` of the gradient without the sample at `shift`; computed in the dtype of `shift`."""
        return self.solve(self.optimum.problem.gradient_without(self.units, self.optimum.params, shift))

    def solve(self, gradient: Tensor) -> Tensor:
        """(H − J S Jᵀ)⁻¹ of one gradient (n, F, D) a sample, in the dtype of the gradient."""
        inverse = self.optimum.inverse
        solved = (gradient.flatten(1).to(inverse.dtype) @ inverse).view_as(gradient)
        projection = torch.einsum("nmk,nk->nm", solved.double(), self.inputs)
        return (solved + downdate(self.columns, self.gram, self.hessians, projection)).to(gradient.dtype)

    def leverage(self) -> Tensor:
        """tr(S K) (n,)."""
        return torch.einsum("nab,nba->n", self.hessians, self.gram)

    def chord_steps(self, count: int) -> tuple[Tensor, Tensor]:
        """The first shift (n, F, D) and `count` chord-Newton steps after it, and what remains (n,), as in `approach`."""
        shift = self.newton_step()
        remaining = torch.full((len(shift),), torch.nan, dtype=torch.float64, device=shift.device)
        last = torch.ones_like(remaining)
        for _ in range(count):
            step = self.chord_step(shift)
            size = relative_norm(step, shift)
            shift = shift - step
            remaining, last = _left_to_go(size, last), size
        return shift, remaining

    def approach(self, tolerance: Tensor | float, dtype: torch.dtype = torch.float64, start: Tensor | None = None) -> Approach:
        """Chord-Newton steps in `dtype` until what remains is below `tolerance` (n,) relative to the shift.

        After the first step, which none can be compared with, the step itself is what remains. A sample whose steps do not
        shrink, the first against the shift it corrects, rests where it was, and infinitely much remains. `start` (n, F, D) is
        the first shift; else the Newton step.
        """
        shift = (self.newton_step() if start is None else start).to(dtype)
        left = torch.full((len(shift),), torch.inf, dtype=torch.float64, device=shift.device)
        tolerance, taken = torch.as_tensor(tolerance).to(left).expand_as(left), torch.zeros_like(shift)
        active, last, removal = torch.arange(len(shift), device=shift.device), torch.ones_like(left), self
        for count in range(CHORD_STEPS):
            step = removal.chord_step(shift[active])
            size = relative_norm(step, shift[active])
            shrinks = size < last
            shift[active[shrinks]] -= step[shrinks]
            taken[active[shrinks]] = step[shrinks]
            remaining = size if count == 0 else _to_go(size, last)
            converged = shrinks & (remaining <= tolerance[active])
            left[active[converged]] = remaining[converged]
            goes_on = shrinks & ~converged
            if not bool(goes_on.any()):
                break
            if not bool(goes_on.all()):
                active, size, removal = active[goes_on], size[goes_on], removal.part(goes_on)
            last = size
        return Approach(shift, left, taken)

    def part(self, chosen: Tensor) -> Removal:
        """The same for some of the samples: where `chosen` (n,) is true."""
        own = ("rows", "inputs", "outputs", "gram", "hessians", "weights")
        return replace(self, columns=self.columns[:, chosen], **{name: getattr(self, name)[chosen] for name in own})

    def settle(self, tolerance: float) -> tuple[Tensor, Tensor]:
        """`approach`; a sample whose steps do not contract is fitted anew without it."""
        approach = self.approach(tolerance)
        return self.refit(approach.shift, approach.remaining)

    def refit(self, shift: Tensor, remaining: Tensor) -> tuple[Tensor, Tensor]:
        """Shifts (n, F, D) and what remains (n,), with each sample of which that is infinite fitted anew without it."""
        shift = shift.double()
        problem, params = self.optimum.problem, self.optimum.params
        for row in torch.nonzero(remaining.isinf()).flatten().tolist():
            start = params + shift[row]
            without = problem.remove(self.rows[row : row + 1])
            shift[row] = fit_map(without, start if bool(start.isfinite().all()) else params).params - params
            remaining[row] = STEP_TOLERANCE * params.norm() / shift[row].norm()
        return shift, remaining


def removal_of(optimum: Optimum, rows: Tensor, workspace: Tensor | None = None) -> Removal:
    """Of samples `rows` (n,); `workspace` as in `influence_columns`."""
    problem = optimum.problem
    inputs, outputs = problem.inputs_of(rows), problem.outputs(optimum.params, rows)
    columns = influence_columns(optimum.inverse, inputs, workspace)
    weights = weight_of(problem, rows)
    hessians = weights[:, None, None] * problem.in_basis(problem.likelihood.hessian(problem.likelihood.state(outputs)))
    return Removal(optimum, rows, inputs, outputs, columns, leverage(columns, inputs), hessians, weights)


def relative_norm(step: Tensor, shift: Tensor) -> Tensor:
    """‖step‖/‖shift‖ (n,) float64."""
    return (step.flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1)).double()


def _to_go(size: Tensor, last: Tensor) -> Tensor:
    """What steps leave whose last was `size` and the one before `last`: they shrink by √(size/last) from here on.

    The factor rises while what is of higher order dies out, hence the root.
    """
    factor = (size / last).sqrt()
    return size * factor / (1 - factor)


def _left_to_go(size: Tensor, last: Tensor) -> Tensor:
    """`_to_go`; infinite where they do not shrink. Small ones that do not shrink are rounding, and leave as much again."""
    return torch.where(size < last, _to_go(size, last), torch.where(size < ROUNDING_BELOW, size, torch.inf))


def chunk_size(problem: LinearProblem, dtype: torch.dtype) -> int:
    """Samples a chunk, so that Y, what is computed from it and matrices of the outputs stay within a fixed size."""
    model = problem.model
    return samples_at_once(model.n_outputs, model.n_weights, dtype.itemsize)


def samples_at_once(n_outputs: int, n_weights: int, itemsize: int) -> int:
    """The same of K outputs and K·D weights, Y in numbers of some bytes."""
    return max(16, CHUNK_BYTES // (n_weights * (itemsize * n_outputs + 8 * 8) + 8 * 8 * n_outputs**2))


def chunk_bytes(n_samples: int, n_directions: int, n_features: int, n_outputs: int, itemsize: int) -> int:
    """What a chunk of the closed form holds at most: Y, three arrays of weights and six matrices of the outputs a sample."""
    columns = n_directions**2 * n_features
    return n_samples * (itemsize * (columns + 3 * n_outputs * n_features) + 6 * 8 * n_outputs**2)
