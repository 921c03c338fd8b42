"""The Gaussian likelihood: K real targets with independent noise of known variance.

Legend of the indices: j sample, a b output, n change. S = diag(1/σ²) depends on no parameter, so a leave-one-out Newton step is
exact and every change of a curvature is that of what leaves alone (docs/math.md, Likelihoods).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, same_output


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gaussian(Likelihood):
    """K real targets (…, K) float64; build it with `gaussian`.

    Attributes:
        noise_variance: σ² (K,) float64.
        basis: the identity (K, K).
    """

    noise_variance: Tensor
    basis: Tensor

    @property
    def n_outputs(self) -> int:
        return len(self.basis)

    @property
    def sees_level(self) -> bool:
        return True

    def in_outputs(self) -> Gaussian:
        return self

    def relative(self, weights: Tensor) -> Tensor:
        return weights

    def complete(self, change: Tensor, axis: int) -> Tensor:
        return change

    def state(self, outputs: Tensor, axis: int = -1) -> Tensor:
        """The outputs themselves."""
        return outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Σ_a [(z − y)²/σ² + ln 2πσ²]/2."""
        squares = (outputs - targets.to(outputs.dtype)).square() / self.noise_variance.to(outputs.dtype)
        return 0.5 * (squares.sum(-1) + float((2 * math.pi * self.noise_variance).log().sum()))

    def residual(self, state: Tensor, targets: Tensor) -> Tensor:
        """(z − y)/σ²."""
        return (state - targets.to(state.dtype)) / self.noise_variance.to(state.dtype)

    def residual_share(self, state: Tensor, targets: Tensor) -> Tensor:
        """1/Σ_a (z − y)²/σ²."""
        squares = (state - targets.to(state.dtype)).square() / self.noise_variance.to(state.dtype)
        return squares.sum(-1).reciprocal()

    def variance(self, state: Tensor) -> Tensor:
        """1/σ² whatever z."""
        return self._precision(state, -1).expand_as(state)

    def hessian(self, state: Tensor) -> Tensor:
        return torch.diag_embed(self.variance(state))

    def hessian_sum(self, state: Tensor, weights: Tensor | None) -> Tensor:
        return (len(state) if weights is None else weights.sum()) * torch.diag(self._precision(state, -1))

    def hessian_root(self, state: Tensor) -> Tensor:
        return torch.diag_embed(self.variance(state).sqrt())

    def remaining_root_times(self, state: Tensor, among: Tensor, vector: Tensor) -> Tensor:
        return self.variance(state).sqrt().masked_fill(among, 0.0) * vector

    def residual_change(
        self, state: Tensor, output_change: Tensor, axis: int = -1, out: Tensor | None = None, outputs: Tensor | None = None
    ) -> Tensor:
        """Δz/σ²."""
        return torch.mul(output_change, self._precision(output_change, axis), out=out)

    def variance_change(self, state: Tensor, change: Tensor) -> Tensor:
        return torch.zeros_like(change)

    def hessian_change(self, state: Tensor, change: Tensor) -> Tensor:
        return torch.zeros_like(torch.diag_embed(change))

    def hessian_change_sum(self, state: Tensor, change: Tensor, weights: Tensor | None) -> Tensor:
        return change.new_zeros(change.shape[2], self.n_outputs, self.n_outputs)

    def residual_derivative(self, state: Tensor, direction: Tensor, axis: int = -1) -> Tensor:
        derivative = direction * self._precision(direction, axis)
        return derivative.broadcast_to(torch.broadcast_shapes(state.shape, direction.shape))

    def coupling(self, state: Tensor, outputs: Tensor, place: int) -> Tensor:
        return (self._precision(state, -1)[outputs] * same_output(outputs, place)).expand_as(state)

    def variance_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return torch.zeros_like(derivative)

    def hessian_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return torch.zeros_like(torch.diag_embed(derivative))

    def hessian_derivative_sum(self, state: Tensor, derivative: Tensor, weights: Tensor | None) -> Tensor:
        return derivative.new_zeros(derivative.shape[2], self.n_outputs, self.n_outputs)

    def combine(self, outputs: Tensor) -> Tensor:
        """Mean of the predictions."""
        return outputs.mean(0)

    def _precision(self, like: Tensor, axis: int) -> Tensor:
        """1/σ² in the dtype of `like`, along one of its axes."""
        precision = self.noise_variance.reciprocal().to(like.dtype)
        return precision.view(-1, *[1] * (like.ndim - 1 - axis % like.ndim))


def gaussian(noise_variance: Tensor) -> Gaussian:
    """K real targets with noise of variance σ² (K,) float64."""
    return Gaussian(noise_variance, torch.eye(len(noise_variance), dtype=torch.float64, device=noise_variance.device))
