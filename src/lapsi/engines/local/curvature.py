"""The posterior of many outputs, and how its output factor moves with few of them (docs/math.md, Many outputs).

Legend of the indices: n sample that leaves, j other samples, c output that a shift moves, a b outputs near to it, k feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.curvature.blocks import Samples, nearest_outputs
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.kron import HessianSlope, StreamedHessianSlope, kron_curvature
from lapsi.curvature.seen import SeenCurvature
from lapsi.curvature.slope import at_support, dual, local_slope, mended_slope, share_along, slope_along, supports
from lapsi.linalg.columns import by_output
from lapsi.linalg.matmul import matmul
from lapsi.problem.linear import LinearProblem


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalHessianSlope(HessianSlope):
    """The derivative of Σ_j a_j S_j along the outputs that a shift moves most, among the outputs nearest to each of these.

    Attributes:
        nearest: (K, p) outputs.
        blocks: (K, p(p+1)/2, D) float32: Σ_j a_j (∂S_j,ab/∂z_jc) x_j of output c, the entries a ≤ b in the order of `nearest`.
        basis: V (K, F), the directions that shifts are told in.
        left_out: of the squares of a shift, beyond the outputs along which it moves the curvature.
    """

    nearest: Tensor
    blocks: Tensor
    basis: Tensor
    left_out: float

    def change(self, shift: Tensor) -> Tensor:
        """As the base class says; in float32 until it is summed."""
        n_outputs, count = self.nearest.shape
        moved = torch.einsum("cm,nmk->nck", self.basis.to(self.blocks.dtype), shift.to(self.blocks.dtype))
        support, counts = supports(moved.square().sum(2), self.left_out)
        moved = at_support(moved, support) * counts[..., None]
        first, second = torch.triu_indices(count, count, device=shift.device)
        half = torch.where(first == second, 0.5, 1.0).to(self.blocks.dtype)
        total = shift.new_zeros(len(shift), n_outputs**2, dtype=self.blocks.dtype)
        for output, rows, places in by_output(support):
            near = self.nearest[output]
            total[rows[:, None], near[first] * n_outputs + near[second]] += half * matmul(
                moved[rows, places], self.blocks[output].T
            )
        change = total.view(-1, n_outputs, n_outputs).double()
        return change + change.mT


@final
@dataclass(frozen=True, slots=True, eq=False)
class MendedHessianSlope(HessianSlope):
    """As `MendedSlope`, of the output factor.

    Attributes:
        rough: of few outputs.
        along: (F, D) the dual of the direction.
        missing: (K, K) float64, what the rough one misses along it.
    """

    rough: HessianSlope
    along: Tensor
    missing: Tensor

    def change(self, shift: Tensor) -> Tensor:
        """As the base class says."""
        return self.rough.change(shift) + share_along(shift, self.along)[:, None, None] * self.missing


def local_hessian_slope(samples: Samples, basis: Tensor) -> LocalHessianSlope:
    """Among as many outputs as the cuts of the samples say, for shifts in the directions `basis` (K, F)."""
    nearest = nearest_outputs(samples, hessian_slopes(samples.problem.likelihood.n_outputs, samples.cuts.hessian_slopes))
    blocks = torch.stack([samples.hessian_slopes(output, others) for output, others in enumerate(nearest)])
    return LocalHessianSlope(nearest, blocks, basis, samples.cuts.of_shift)


def hessian_slopes(n_outputs: int, asked: int) -> int:
    """How many outputs meet in the change of the output factor."""
    return min(n_outputs, asked)


def local_curvature(
    structure: str, seen: LinearProblem, samples: Samples, nearest: Tensor, params: Tensor, pull: Tensor
) -> Curvature:
    """The posterior of a structure, `diag` or `kfac`, at `params` (K, D).

    Args:
        structure: its name.
        seen: the problem in the directions that its loss sees.
        samples, nearest: of the problem in outputs; (K, p).
        params: the optimum, in outputs.
        pull: (K, D) along which the change is exact: the optimum goes there when the L2 strength falls, over all outputs alike,
            and samples that are far from every boundary move nothing else.
    """
    if structure == "diag":
        exact = slope_along(samples.problem, params, pull)
        slope = mended_slope(local_slope(samples, nearest), pull, exact, samples.inputs.dtype)
        return diag_curvature(samples.problem, params, slope)
    basis = seen.likelihood.basis
    params, pull = basis.T @ params, basis.T @ pull
    rough = local_hessian_slope(samples, basis)
    (missing,) = StreamedHessianSlope(seen, params).change(pull[None]) - rough.change(pull[None])
    return SeenCurvature(kron_curvature(seen, params, MendedHessianSlope(rough, dual(pull), missing)), basis)
