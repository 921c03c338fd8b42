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

from lapsi.linalg.matmul import matmul
from lapsi.problem.linear import LinearProblem

LEFT_OUT = 1e-3  # of the sum of what weighs the samples


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What all blocks are sums of; build it with `samples_of`.

    Attributes:
        problem: that sees all outputs.
        inputs, state: (N, D), (N, K) float32.
        variances: (N, K) float32, the weighted diagonals of S.
    """

    problem: LinearProblem
    inputs: Tensor
    state: Tensor
    variances: Tensor

    def that_vary(self, output: int) -> Tensor:
        """Rows (r,) of the samples of which an output varies."""
        return _that_matter(self.variances[:, output])

    def coupling(self, output: int, rows: Tensor) -> Tensor:
        """Column S_j,·b (r, K) of one output, of the samples `rows`, weighted."""
        state = self.state[rows]
        direction = torch.zeros_like(state[:1])
        direction[0, output] = 1.0
        return self.problem.weigh(self.problem.likelihood.residual_derivative(state, direction), rows)

    def slope(self, rows: Tensor, coupling: Tensor) -> Tensor:
        """Derivative (r, K) of the variances along the output of a `coupling`, weighted."""
        return self.problem.likelihood.variance_derivative(self.state[rows], coupling)

    def block(self, rows: Tensor, weights: Tensor, *, squares: bool = False) -> Tensor:
        """Σ_j w_j x_jx_jᵀ (D, D) over samples `rows` (r,) with weights w (r,); of x_j² and x_j with `squares`."""
        matter = _that_matter(weights.abs())
        inputs = self.inputs[rows[matter]]
        left = inputs.square() if squares else inputs
        return matmul((left * weights[matter, None]).T.contiguous(), inputs)


def samples_of(problem: LinearProblem, params: Tensor) -> Samples:
    """Of a problem that sees all outputs, at `params`."""
    state = problem.state_of(params, problem.inputs)
    variances = problem.weigh(problem.likelihood.variance(state), slice(None))
    return Samples(problem, problem.inputs.float(), state.float(), variances.float())


def nearest_outputs(samples: Samples, count: int) -> Tensor:
    """(K, count) the outputs most coupled to each by Σ_j a_j |S_j,ab|, itself first."""
    n_outputs = samples.state.shape[1]
    strength = samples.state.new_empty(n_outputs, n_outputs)
    for output in range(n_outputs):
        strength[output] = samples.coupling(output, samples.that_vary(output)).abs().sum(0)
    strength.fill_diagonal_(torch.inf)
    return strength.topk(count, dim=1).indices


def slopes(samples: Samples, nearest: Tensor) -> Iterator[Tensor]:
    """T_ab (count, D, D) of the outputs a nearest to b, for every b."""
    for output, others in enumerate(nearest.tolist()):
        rows = samples.that_vary(output)
        slope = samples.slope(rows, samples.coupling(output, rows))
        yield torch.stack([samples.block(rows, slope[:, other], squares=True) for other in others])


def _that_matter(weights: Tensor) -> Tensor:
    """Positions (r,) of weights (n,) ≥ 0 without the small ones, which sum to less than a thousandth."""
    return torch.nonzero(weights > LEFT_OUT * weights.mean()).flatten()
