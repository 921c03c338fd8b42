"""Blocks (D, D) of pairs of outputs: of the Hessian, and of the derivative of its diagonal (docs/math.md, Many outputs).

    H_ab = Σ_j a_j S_j,ab x_jx_jᵀ,   T_ab = Σ_j a_j (∂v_ja/∂z_jb) x_j²x_jᵀ

Only few outputs are coupled to one, and few samples couple two: those whose share of a sum is next to nothing are left out.

Legend of the indices: j sample, a b output, k l feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.linalg.gram import product, squares, terms_that_matter, that_matter
from lapsi.linalg.matmul import matmul
from lapsi.problem.linear import LinearProblem

SLOPE_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is left out at most of a sum, as a share of what its terms weigh.

    Attributes:
        of_one, of_two: samples, of a block of the Hessian of one output and of two.
        of_slopes: samples, of the derivative of the diagonal, whose own share of LSI is small.
        of_support: outputs, of the squares of what a sample says of them.
        of_shift: outputs, of the squares of a shift, when it moves the curvature.
        of_gradient: outputs, of the squares of a gradient from which a shift is bettered.
        of_probe: half of LSI, of samples that tell what the closed form misses.
        slopes: how many outputs such a move reaches, each with its nearest.
        hessian_slopes: among how many it moves the output factor of `kfac`.
    """

    of_one: float
    of_two: float
    of_slopes: float
    of_support: float
    of_shift: float
    of_gradient: float
    of_probe: float
    slopes: int
    hessian_slopes: int


LOCAL = Cuts(1e-3, 1e-2, 0.3, 1e-2, 1e-2, 0.0, 2e-3, 4, 8)  # less than what the coupling of far outputs leaves out
DENSE = Cuts(1e-4, 1e-4, 0.01, 3e-5, 1e-4, 0.03, 1e-4, 16, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What all blocks are sums of; build it with `samples_of`.

    Attributes:
        problem: that sees all outputs.
        cuts: what the sums may leave out.
        inputs: (N, D) float32.
        state: (K, N) float32, so that one output lies together.
        variances: (K, N) float32, the weighted diagonals of S.
    """

    problem: LinearProblem
    cuts: Cuts
    inputs: Tensor
    state: Tensor
    variances: Tensor

    def blocks(self, output: int, others: list[int]) -> list[Tensor]:
        """H_ab (D, D) of one output b with each of others a."""
        rows, _, coupling = self._coupling(output, others)
        cuts = [self.cuts.of_one if other == output else self.cuts.of_two for other in others]
        pairs = zip(coupling.T, cuts, strict=True)
        return squares(self.inputs, [terms_that_matter(rows, weights, cut) for weights, cut in pairs])

    def slopes(self, output: int, others: list[int]) -> Iterator[Tensor]:
        """T_ab (D, D) of one output b with each of others a."""
        rows, state, coupling = self._coupling(output, others)
        for slope in self.problem.likelihood.variance_derivative(state, coupling).T:
            yield product(self.inputs, terms_that_matter(rows, slope, self.cuts.of_slopes), self._squares)

    def hessian_slopes(self, output: int, others: Tensor) -> Tensor:
        """Σ_j a_j (∂S_j,ab/∂z_jc) x_j (p(p+1)/2, D) of one output c, for the pairs a ≤ b of `others` (p,)."""
        rows, state, coupling = self._coupling(output, others.tolist())
        first, second = torch.triu_indices(len(others), len(others), device=others.device)
        total = self.inputs.new_zeros(len(first), self.inputs.shape[1])
        for some in torch.arange(len(rows), device=rows.device).split(SLOPE_ROWS):
            slope = self.problem.likelihood.hessian_derivative(state[some], coupling[some])
            total += matmul(slope[:, first, second].T, self.inputs[rows[some]])
        return total

    def _squares(self, inputs: Tensor) -> Tensor:
        return self.problem.model.plain(inputs).square()

    def _coupling(self, output: int, others: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (r,) of the samples of which an output b varies; there (r, s) the state of others a and S_j,ab, weighted."""
        rows = that_matter(self.variances[output], self.cuts.of_one)
        outputs = torch.tensor([output, *others], device=rows.device)
        state = torch.stack([self.state[each].index_select(0, rows) for each in outputs.tolist()]).T
        coupling = self.problem.weigh(self.problem.likelihood.coupling(state, outputs[None, :], 0), rows)
        return rows, state[:, 1:], coupling[:, 1:]


def samples_of(problem: LinearProblem, params: Tensor, cuts: Cuts) -> Samples:
    """Of a problem that sees all outputs, at `params`."""
    state = problem.states(params, torch.float32)
    variances = problem.weigh(problem.likelihood.variance(state), slice(None)).T.contiguous()
    return Samples(problem, cuts, problem.inputs.float(), state.T.contiguous(), variances)


def nearest_outputs(samples: Samples, count: int) -> Tensor:
    """(K, count) the outputs most coupled to each by |Σ_j a_j S_j,ab|, itself first."""
    problem = samples.problem
    strength = problem.likelihood.hessian_sum(samples.state.T, problem.weights_of(slice(None))).abs()
    return strength.fill_diagonal_(torch.inf).topk(count, dim=1).indices
