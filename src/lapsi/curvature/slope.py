"""How the diagonal of the GGN of all samples moves with the parameters, to first order: M = ∂λ/∂params (docs/math.md, diag).

Legend of the indices: n shift, j sample, a b c output, m direction, k l feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.curvature.blocks import Samples
from lapsi.linalg.columns import NO_OUTPUT, LocalColumns
from lapsi.linalg.matmul import matmul
from lapsi.problem.linear import LinearProblem

LEAST_SUPPORT = 2


class VarianceSlope(ABC):
    """How the curvature of all samples moves with the parameters, to first order."""

    @abstractmethod
    def change(self, shift: Tensor) -> Tensor:
        """Change (n, K·D) of Σ_j a_j x_j² v_j under shifts (n, F, D)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseSlope(VarianceSlope):
    """The whole derivative M (K·D, P')."""

    derivative: Tensor

    def change(self, shift: Tensor) -> Tensor:
        return matmul(shift.flatten(1).to(self.derivative.dtype), self.derivative.T)


def dense_slope(problem: LinearProblem, params: Tensor, dtype: torch.dtype) -> DenseSlope:
    """M at `params`, built and kept in `dtype`."""
    model = problem.model
    derivative = torch.zeros(model.n_outputs, model.n_plain_features, model.n_params, dtype=dtype, device=params.device)
    row_bytes = dtype.itemsize * model.n_params // 2
    for inputs, squares, slope in derivatives(problem, params, row_bytes, dtype):
        _add_products(derivative, squares, inputs, slope)
    return DenseSlope(derivative.flatten(0, 1))


def derivatives(
    problem: LinearProblem, params: Tensor, row_bytes: int, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of blocks of samples: inputs (j, D), a_j x_j² of the plain ones (j, d) and ∂v_jc/∂u_jm (j, m, c), in `dtype`."""
    model, likelihood = problem.model, problem.likelihood
    own_bytes = 8 * (model.n_features + model.n_plain_features + 4 * model.n_outputs * (1 + model.n_directions))
    for rows in problem.row_blocks(own_bytes + row_bytes):
        inputs = problem.inputs_of(rows)
        state = problem.state_of(params, inputs)
        squares = problem.weigh(model.plain(inputs).square(), rows)
        directions = likelihood.residual_derivative(state[:, None, :], likelihood.basis.T)  # (j, m, c): ∂r_c/∂u_m
        slope = likelihood.variance_derivative(state[:, None, :], directions)
        yield inputs.to(dtype), squares.to(dtype), slope.to(dtype)


def _add_products(derivative: Tensor, squares: Tensor, inputs: Tensor, slope: Tensor) -> None:
    """Adds Σ_j squares_jk slope_jmc x_jl to `derivative` (c, k, m·l)."""
    squared, slope = squares.T.contiguous(), slope.permute(2, 0, 1).contiguous()
    wide = inputs.new_empty(len(inputs), slope.shape[2], inputs.shape[1])
    product = torch.empty_like(derivative[0])
    for block, by_direction in zip(derivative, slope, strict=True):
        torch.mul(by_direction[:, :, None], inputs[:, None, :], out=wide)
        block.add_(matmul(squared, wide.flatten(1), out=product))


def slope_times(problem: LinearProblem, params: Tensor, shifts: Tensor) -> Tensor:
    """M·shift (n, K·d) of shifts (n, F, D), exactly, by a pass over the data in the dtype of the shifts."""
    n, n_directions, _ = shifts.shape
    total = shifts.new_zeros(problem.model.n_outputs, n, problem.model.n_plain_features)
    weights = shifts.transpose(0, 1).flatten(0, 1)
    for inputs, squares, slope in derivatives(problem, params, _pass_bytes(problem, shifts), shifts.dtype):
        moves = matmul(inputs, weights.T).view(len(inputs), n_directions, n)
        total += matmul((slope.mT @ moves).flatten(1).T, squares).view_as(total)
    return total.transpose(0, 1).flatten(1)


def slope_transposed_times(problem: LinearProblem, params: Tensor, vectors: Tensor) -> Tensor:
    """Mᵀ·vector (n, P') of vectors (n, K·d), as in `slope_times`."""
    n, model = len(vectors), problem.model
    total = vectors.new_zeros(model.n_directions, n, model.n_features)
    weights = vectors.view(n, model.n_outputs, -1).transpose(0, 1).flatten(0, 1)
    for inputs, squares, slope in derivatives(problem, params, _pass_bytes(problem, vectors), vectors.dtype):
        moves = matmul(squares, weights.T).view(len(inputs), model.n_outputs, n)
        total += matmul((slope @ moves).flatten(1).T, inputs).view_as(total)
    return total.transpose(0, 1).flatten(1)


def _pass_bytes(problem: LinearProblem, vectors: Tensor) -> int:
    """Of a sample, beside its inputs."""
    return vectors.itemsize * 2 * problem.model.n_outputs * len(vectors)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LocalSlope(VarianceSlope):
    """The derivative of the diagonal along the outputs that a shift moves most, for the outputs nearest to each of these.

    Attributes:
        blocks: ∂(Σ_j a_j x_j² v_ja)/∂params_b.
        left_out: of the squares of a shift, beyond the outputs along which it moves the curvature.
    """

    blocks: LocalColumns
    left_out: float

    def change(self, shift: Tensor) -> Tensor:
        support, counts = supports(shift.square().sum(2), self.left_out)
        return self.blocks.times(at_support(shift, support), torch.where(counts, support, NO_OUTPUT)).flatten(1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class MendedSlope(VarianceSlope):
    """A rough slope that is exact along one direction: M̃ + (M − M̃) c cᵀ/‖c‖². Build it with `mended_slope`.

    Attributes:
        rough: M̃.
        along: c/‖c‖² (F, D).
        missing: (M − M̃) c (K·d,), float64.
    """

    rough: VarianceSlope
    along: Tensor
    missing: Tensor

    def change(self, shift: Tensor) -> Tensor:
        change = self.rough.change(shift)
        return change.addr_(share_along(shift, self.along).to(change.dtype), self.missing.to(change.dtype))


def mended_slope(rough: VarianceSlope, direction: Tensor, exact: Tensor, dtype: torch.dtype) -> MendedSlope:
    """Exact along a `direction` (F, D), where the change is `exact` (K·d,); shifts are of `dtype`."""
    (found,) = rough.change(direction[None].to(dtype))
    return MendedSlope(rough, dual(direction), exact - found)


def dual(direction: Tensor) -> Tensor:
    """c/‖c‖² of a direction c; 0 of none."""
    return direction / direction.square().sum().clamp(min=torch.finfo(direction.dtype).tiny)


def share_along(shift: Tensor, along: Tensor) -> Tensor:
    """How many times a direction is in shifts (n, F, D), by its `dual` (F, D): (n,) float64."""
    return torch.einsum("nmk,mk->n", shift.double(), along.double())


def local_slope(samples: Samples, nearest: Tensor) -> LocalSlope:
    """Of the outputs nearest to each, `nearest` (K, p) or some of them."""
    few, model = nearest[:, : samples.cuts.slopes], samples.problem.model
    columns = samples.inputs.new_empty(*few.shape, model.n_plain_features, model.n_features)  # once: it is large
    for output, others in enumerate(few.tolist()):
        for place, slope in enumerate(samples.slopes(output, others)):
            columns[output, place] = slope
    return LocalSlope(LocalColumns(few, columns), samples.cuts.of_shift)


def slope_along(problem: LinearProblem, params: Tensor, shift: Tensor) -> Tensor:
    """M·shift (K·d,) float64 of one shift (K, D) of a problem that sees all outputs, exactly, by a pass over the data."""
    model, likelihood = problem.model, problem.likelihood
    total = shift.new_zeros(model.n_outputs, model.n_plain_features, dtype=torch.float64)
    for rows in problem.row_blocks(8 * (model.n_features + model.n_plain_features + 6 * model.n_outputs)):
        inputs = problem.inputs_of(rows)
        state = problem.state_of(params, inputs)
        moved = likelihood.variance_derivative(state, likelihood.residual_derivative(state, inputs @ shift.T))
        total += moved.T @ problem.weigh(model.plain(inputs).square(), rows)
    return total.flatten()


def support_sizes(shares: Tensor, left_out: float) -> Tensor:
    """How many of the largest shares (n, K) ≥ 0 (n,) leave less than `left_out` of all to the others; 2 at least."""
    from_least = shares.sort(dim=1).values.cumsum(1)
    beyond = (from_least < left_out * from_least[:, -1:]).sum(1)
    return (shares.shape[1] - beyond).clamp(min=min(LEAST_SUPPORT, shares.shape[1]))


def supports(shares: Tensor, left_out: float) -> tuple[Tensor, Tensor]:
    """The outputs (n, s) of the largest shares (n, K), and whether each is one of `support_sizes` or fills the row up."""
    sizes = support_sizes(shares, left_out)
    support = shares.topk(int(sizes.max()), dim=1).indices
    return support, torch.arange(support.shape[1], device=sizes.device) < sizes[:, None]


def at_support(vectors: Tensor, support: Tensor) -> Tensor:
    """Of vectors (n, K, D) those of each support (n, s, D)."""
    return vectors.gather(1, support[..., None].expand(*support.shape, vectors.shape[2]))
