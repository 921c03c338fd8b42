"""How the outputs of a model become a loss: what every likelihood offers, each change in difference form.

Legend of the indices: a b output, m n direction of the basis. Outputs z (…, K); `state` is what the derivatives of the loss
need to know of z, in its shape: probabilities for the softmax, z itself where these would lose digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor


class Likelihood(ABC):
    """The loss ℓ(z, y) in nats of one sample, K outputs z in natural parameters; convex in z, its Hessian S free of y.

    Batch axes come first and broadcast; `targets` has one entry a sample, of the kind that the likelihood reads; results are in
    the dtype of z. Sums over samples take weights (j,), or None where each counts once.
    """

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """K."""

    @property
    @abstractmethod
    def basis(self) -> Tensor:
        """V (K, F) float64, orthonormal columns: the directions of z that the loss sees. The identity where it sees all."""

    @property
    @abstractmethod
    def sees_level(self) -> bool:
        """Whether the loss changes where the same number is added to all outputs."""

    @abstractmethod
    def in_outputs(self) -> Self:
        """The same with the identity as its basis: a direction for every output, whether the loss sees it or not."""

    @abstractmethod
    def relative(self, weights: Tensor) -> Tensor:
        """Weights (…, K, in) to as few rows (…, F, in) as the loss sees of them, without a product of matrices."""

    @abstractmethod
    def complete(self, change: Tensor, axis: int) -> Tensor:
        """A change of the residual in all K entries along `axis`, from the F that `residual_change` gives for F outputs."""

    @abstractmethod
    def state(self, outputs: Tensor, axis: int = -1) -> Tensor:
        """What the derivatives need to know of z, in the shape of z, whose K outputs lie along `axis`."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ (…), nats."""

    @abstractmethod
    def residual(self, state: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂z (…, K)."""

    @abstractmethod
    def residual_share(self, state: Tensor, targets: Tensor) -> Tensor:
        """ρ (…), the largest with S − ρ r rᵀ positive semidefinite, r the residual: 1/(rᵀS⁻¹r); infinite where r is 0."""

    @abstractmethod
    def variance(self, state: Tensor) -> Tensor:
        """Diagonal of S, in the shape of z."""

    @abstractmethod
    def hessian(self, state: Tensor) -> Tensor:
        """S = ∂²ℓ/∂z² (…, K, K)."""

    @abstractmethod
    def hessian_sum(self, state: Tensor, weights: Tensor | None) -> Tensor:
        """Σ_j S_j (K, K) from state (j, K), in little memory."""

    @abstractmethod
    def hessian_root(self, state: Tensor) -> Tensor:
        """F (…, K, r) with F Fᵀ = S."""

    @abstractmethod
    def remaining_root_times(self, state: Tensor, among: Tensor, vector: Tensor) -> Tensor:
        """F v (…, K), F Fᵀ what S holds beyond some outputs, S − S_·s S_ss⁺ S_s·: these `among` (…, K) bool, and v (…, K)."""

    @abstractmethod
    def residual_change(
        self, state: Tensor, output_change: Tensor, axis: int = -1, out: Tensor | None = None, outputs: Tensor | None = None
    ) -> Tensor:
        """∂ℓ/∂z at z + Δz less that at z, its error relative to Δz.

        Args:
            state: at z, K entries along `axis`.
            output_change: Δz; or, with F entries along `axis`, its image under `relative`, and so is the result.
            axis: of the outputs.
            out: memory of the shape of the result; may be `output_change`.
            outputs: z in the layout of `state`, where the state cannot hold all that z says.
        """

    @abstractmethod
    def variance_change(self, state: Tensor, change: Tensor) -> Tensor:
        """Change of the diagonal of S when the residual changes by `change`; any layout."""

    @abstractmethod
    def hessian_change(self, state: Tensor, change: Tensor) -> Tensor:
        """Change of S (…, K, K) when the residual changes by `change` (…, K)."""

    @abstractmethod
    def hessian_change_sum(self, state: Tensor, change: Tensor, weights: Tensor | None) -> Tensor:
        """Σ_j of `hessian_change` (n, K, K) from state (j, K, 1) and n changes (j, K, n), in little memory."""

    @abstractmethod
    def residual_derivative(self, state: Tensor, direction: Tensor, axis: int = -1) -> Tensor:
        """S dz, in the shape of the direction dz, whose K outputs lie along `axis`."""

    @abstractmethod
    def coupling(self, state: Tensor, outputs: Tensor, place: int) -> Tensor:
        """S_ab (n, s) of outputs a (n or 1, s), which may repeat, with the b at `place`, from their own state (n, s)."""

    @abstractmethod
    def variance_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        """Derivative of the diagonal of S along a derivative of the residual (…, K)."""

    @abstractmethod
    def hessian_derivative(self, state: Tensor, derivative: Tensor) -> Tensor:
        """Derivative of S (…, K, K) along a derivative of the residual (…, K); of some outputs from their own entries."""

    @abstractmethod
    def hessian_derivative_sum(self, state: Tensor, derivative: Tensor, weights: Tensor | None) -> Tensor:
        """Σ_j of `hessian_derivative` (n, K, K) from state (j, K, 1) and n derivatives (j, K, n), in little memory."""

    @abstractmethod
    def combine(self, outputs: Tensor) -> Tensor:
        """Outputs (n, K) whose prediction is the average of the predictions of several models' (S, n, K)."""


def hessian_among(likelihood: Likelihood, state: Tensor, support: Tensor) -> Tensor:
    """S (n, s, s) among the outputs of each support (n, s), from state (n, K)."""
    own = state.gather(1, support)
    return torch.stack([likelihood.coupling(own, support, place) for place in range(support.shape[1])], 2)


def same_output(outputs: Tensor, place: int) -> Tensor:
    """Where outputs (n, s) are the one at `place`."""
    return outputs == outputs[:, place : place + 1]


def weighted(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Rows (j, …) times their weights (j,); the rows themselves for None."""
    return rows if weights is None else rows * weights.to(rows.dtype).view(-1, *[1] * (rows.ndim - 1))
