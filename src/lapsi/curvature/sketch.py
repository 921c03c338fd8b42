"""The derivative of the diagonal where it is large: by few outputs, and exactly in the range where shifts move it most.

Where samples are many, the change of the others' curvature makes little of LSI. So M·shift is taken roughly: of few samples,
for the outputs nearest to each, along those that the shift moves most (`LocalSlope`). The part that matters most is then set
right: in the range of the changes that some samples' own shifts make (Halko, Martinsson and Tropp 2011) the exact change takes
the place of the rough one. How large the error of LSI is, further samples say.

Legend of the indices: n sample, k entry of λ, r direction of the range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.blocks import LOCAL, nearest_outputs, samples_of
from lapsi.curvature.diag import DiagCurvature
from lapsi.curvature.slope import LocalSlope, VarianceSlope, local_slope, slope_times, slope_transposed_times
from lapsi.problem.base import weight_of
from lapsi.problem.linear import LinearProblem

RANK = 64  # samples whose shifts span the range
CHECKS = 64  # samples on which the error is measured
SEED = 1  # another draw than that of the probe
WORTH_FLOP = 2e11  # of building all of M, above which it is worth the passes
ROUGH = replace(LOCAL, of_shift=0.05)
ROUGH_SHARE = 0.2  # of the time of building all of M that the rough one takes, measured on CIFAR-10 features
MOVING_SHARE = 0.25  # of that of a product with M, as measured


@final
@dataclass(frozen=True, slots=True, eq=False)
class SketchedSlope(VarianceSlope):
    """A rough change d, and d + λQ (Qᵀλ⁻¹M·shift − Qᵀλ⁻¹d) of it; build it with `sketched_slope`.

    Attributes:
        rough: of shifts in outputs.
        basis: V (K, F).
        pull: (P',) H⁻¹params, which all shifts have in common; its change is in the range.
        left, right: λQ and λ⁻¹Q (K·d, r), Q an orthonormal basis of the range of the changes over λ.
        exact: Qᵀλ⁻¹M (r, P').
    """

    rough: LocalSlope
    basis: Tensor
    pull: Tensor
    left: Tensor
    right: Tensor
    exact: Tensor

    def change(self, shift: Tensor) -> Tensor:
        flat = shift.flatten(1).to(self.exact.dtype)
        own = flat - ((flat @ self.pull) / self.pull.square().sum())[:, None] * self.pull
        change = self.rough.change(torch.einsum("cm,nmk->nck", self.basis, own.view(shift.shape)))
        return change.addmm_(flat @ self.exact.T - change @ self.right, self.left.T)


def is_worth_sketching(n_samples: int, entries: float) -> bool:
    """Whether M of so many `entries` is better sketched than built."""
    return 2.0 * n_samples * entries >= WORTH_FLOP


def pass_flop(n_samples: int, n_outputs: int, n_features: int) -> float:
    """Of the passes over the data that sketching takes."""
    return 4.0 * n_samples * n_outputs * n_features * (2 * RANK + CHECKS)


def sketched_slope(curvature: DiagCurvature, inverse: Tensor, error: float) -> SketchedSlope | None:
    """M of the posterior; None where LSI of one of the samples that are checked would be off by more than `error`, relative.

    Args:
        curvature: the posterior, without its slope.
        inverse: H⁻¹ (P', P'), float32.
        error: of the change of the curvature, as a share of LSI.
    """
    problem, params, diagonal = curvature.problem, curvature.map_params, curvature.precision.diagonal
    drawn = torch.randperm(len(problem.inputs), generator=torch.Generator().manual_seed(SEED))[: RANK + CHECKS]
    rows, rank = drawn.to(inverse.device), min(RANK, len(drawn) // 2)
    pull, own = _influences(problem, params, inverse, rows)
    moved = slope_times(problem, params, torch.cat([pull[None], own]))
    slope = _sketch(problem, params, pull, (moved[: 1 + rank] / diagonal).T, diagonal)
    rows, own = rows[rank:], own[rank:]
    drop = problem.objective.l2_drop(weight_of(problem, rows)).to(own.dtype)
    shift, exact = own + drop[:, None, None] * pull, moved[1 + rank :] + drop[:, None] * moved[0]
    found, expected = (curvature.first_order(rows[:, None], shift, others).total for others in (slope.change(shift), exact))
    return slope if float((found / expected - 1).abs().max()) <= error else None


def _influences(problem: LinearProblem, params: Tensor, inverse: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """H⁻¹params (F, D), and H⁻¹ of the gradients of samples `rows` (n, F, D): of what shifts are made, to first order."""
    likelihood = problem.likelihood
    residual = likelihood.residual(likelihood.state(problem.outputs(params, rows)), problem.targets[rows]) @ likelihood.basis
    gradients = weight_of(problem, rows)[:, None, None] * residual[:, :, None] * problem.inputs_of(rows)[:, None, :]
    right = torch.cat([params[None], gradients]).to(inverse.dtype)
    solved = (right.flatten(1) @ inverse).view_as(right)
    return solved[0], solved[1:]


def _sketch(problem: LinearProblem, params: Tensor, pull: Tensor, changes: Tensor, diagonal: Tensor) -> SketchedSlope:
    """With the range of `changes` (K·d, r), relative to λ = `diagonal` (K·d,)."""
    dtype, basis = pull.dtype, problem.likelihood.basis
    cuts = replace(ROUGH, slopes=rough_outputs(problem.likelihood.n_outputs))
    samples = samples_of(problem.in_outputs(), basis @ params, cuts)
    rough = local_slope(samples, nearest_outputs(samples, cuts.slopes))
    tiny = torch.finfo(torch.float64).tiny
    span = torch.linalg.qr(changes.double() / changes.double().norm(dim=0).clamp(min=tiny))[0]
    left, right = (diagonal[:, None] * span).to(dtype), (span / diagonal[:, None]).to(dtype)
    exact = slope_transposed_times(problem, params, right.T.contiguous())
    return SketchedSlope(rough, basis.to(dtype), pull.flatten(), left, right, exact)


def rough_outputs(n_outputs: int) -> int:
    """How many outputs a move along one reaches, roughly."""
    return min(n_outputs, max(4, n_outputs // 2))
