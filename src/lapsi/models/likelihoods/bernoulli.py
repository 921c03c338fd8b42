"""The Bernoulli likelihood: K labels, each there or not, independent given the outputs (binary targets: K = 1).

Legend of the indices: j sample, a b label, n change. Logits z, probabilities p = σ(z). The state is z: p near 1 has lost the
digits of 1 − p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, same_output, weighted

OVERFLOWS_ABOVE = 60.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bernoulli(Likelihood):
    """K labels; targets are 0 or 1 (…, K) float64; build it with `bernoulli`.

    Attributes:
        basis: the identity (K, K).
    """

    basis: Tensor

    @property
    def n_outputs(self) -> int:
        return len(self.basis)

    @property
    def sees_level(self) -> bool:
        return True

    def in_outputs(self) -> Bernoulli:
        return self

    def relative(self, weights: Tensor) -> Tensor:
        return weights

    def complete(self, change: Tensor, axis: int) -> Tensor:
        return change

    def state(self, outputs: Tensor, axis: int = -1) -> Tensor:
        """The logits themselves."""
        return outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−Σ_a ln P(y_a)."""
        return torch.nn.functional.softplus((1 - 2 * targets.to(outputs.dtype)) * outputs).sum(-1)

    def residual(self, state: Tensor, targets: Tensor) -> Tensor:
        """p − y, as −σ(−z) where y is 1."""
        sign = 1 - 2 * targets.to(state.dtype)
        return sign * torch.sigmoid(sign * state)

    def residual_share(self, state: Tensor, targets: Tensor) -> Tensor:
        """1/Σ_a (1 − P(y_a))/P(y_a)."""
        return torch.exp(-torch.logsumexp((1 - 2 * targets.to(state.dtype)) * state, -1))

    def variance(self, state: Tensor) -> Tensor:
        """v = σ(z)σ(−z)."""
        return torch.sigmoid(state) * torch.sigmoid(-state)

    def hessian(self, state: Tensor) -> Tensor:
        return torch.diag_embed(self.variance(state))

    def hessian_sum(self, state: Tensor, weights: Tensor | None) -> Tensor:
        return torch.diag(weighted(self.variance(state), weights).sum(0))

    def hessian_root(self, state: Tensor) -> Tensor:
        return torch.diag_embed(self.variance(state).sqrt())

    def remaining_root_times(self, state: Tensor, among: Tensor, vector: Tensor) -> Tensor:
        return self.variance(state).sqrt().masked_fill(among, 0.0) * vector

    def residual_change(
        self, state: Tensor, output_change: Tensor, axis: int = -1, out: Tensor | None = None, outputs: Tensor | None = None
    ) -> Tensor:
        """σ(z + Δz) − σ(z) = expm1(Δz) σ(z) σ(−z − Δz); mirrored where expm1 would overflow."""
        high = output_change.amax() if output_change.numel() > 0 else output_change.new_zeros(())
        after = state + output_change
        if float(high) < OVERFLOWS_ABOVE:
            change = torch.expm1(output_change, out=out)
            return change.mul_(torch.sigmoid(state)).mul_(after.neg_().sigmoid_())
        sign = torch.sign(output_change)
        change = -sign * torch.expm1(-output_change.abs()) * torch.sigmoid(-sign * state) * torch.sigmoid(sign * after)
        return change if out is None else out.copy_(change)

    def variance_change(self, state: Tensor, change: Tensor) -> Tensor:
        """Δp (1 − 2p − Δp)."""
        return change * (self._slope(state) - change)

    def hessian_change(self, state: Tensor, change: Tensor) -> Tensor:
        return torch.diag_embed(self.variance_change(state, change))

    def hessian_change_sum(self, state: Tensor, change: Tensor, weights: Tensor | None) -> Tensor:
        return torch.diag_embed(weighted(self.variance_change(state, change), weights).sum(0).T)

    def residual_derivative(self, state: Tensor, direction: Tensor, axis: int = -1) -> Tensor:
        return self.variance(state) * direction

    def coupling(self, state: Tensor, outputs: Tensor, place: int) -> Tensor:
        return self.variance(state) * same_output(outputs, place)

    def variance_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return self._slope(state) * derivative

    def hessian_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        return torch.diag_embed(self.variance_derivative(state, derivative))

    def hessian_derivative_sum(self, state: Tensor, derivative: Tensor, weights: Tensor | None) -> Tensor:
        return torch.diag_embed(weighted(self.variance_derivative(state, derivative), weights).sum(0).T)

    def combine(self, outputs: Tensor) -> Tensor:
        """Logits of the mean probabilities."""
        yes, no = (torch.nn.functional.logsigmoid(sign * outputs).logsumexp(0) for sign in (1, -1))
        return yes - no

    def _slope(self, state: Tensor) -> Tensor:
        """1 − 2p = −tanh(z/2)."""
        return -torch.tanh(0.5 * state)


def bernoulli(n_labels: int, device: torch.device) -> Bernoulli:
    """K labels, the basis on `device`."""
    return Bernoulli(torch.eye(n_labels, dtype=torch.float64, device=device))
