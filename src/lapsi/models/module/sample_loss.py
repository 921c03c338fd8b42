"""The loss of a sample of a module, in nats: of its one prediction, or of those of its tokens together.

Legend of the indices: n sample, t token, a output, m drawn labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.data.batches import IGNORED
from lapsi.errors import InputError
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.likelihoods.softmax import Softmax
from lapsi.models.module.roots import Directions, Roots
from lapsi.models.module.signed_roots import seeds_of


class SampleLoss(ABC):
    """How what a module gives for samples becomes a loss of each, and what that says of the module.

    Directions are in the shape of the outputs. Attributes:
        likelihood: of one prediction.
        order_by: (N,) numbers that are alike for samples which cost alike; None where that is not known.
    """

    likelihood: Likelihood
    order_by: Tensor | None

    def alike(self, rows: Tensor) -> Tensor:
        """An order of samples `rows` (n,) that keeps together those which cost alike."""
        return torch.arange(len(rows)) if self.order_by is None else torch.argsort(self.order_by[rows.cpu()], stable=True)

    @property
    @abstractmethod
    def is_sampled(self) -> bool:
        """Whether some of the roots are drawn: right on average over the drawings."""

    @property
    @abstractmethod
    def is_padded(self) -> bool:
        """Whether some places of a sample may only fill it up."""

    @property
    @abstractmethod
    def n_told(self) -> int:
        """K', numbers in which the outputs of a sample are told."""

    @property
    @abstractmethod
    def n_directions(self) -> int:
        """About how many `directions` a sample has."""

    @abstractmethod
    def require(self, outputs: Tensor, n: int) -> None:
        """Refuses outputs of another shape than that for n samples.

        Raises:
            InputError: with the shape that is expected.
        """

    @abstractmethod
    def targets_of(self, rows: Tensor, given: Tensor) -> Tensor:
        """Targets (n, …) of samples `rows` (n,), of which the data hold what is `given` (n, …)."""

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """ℓ (n,)."""

    @abstractmethod
    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The direction ∂ℓ/∂z."""

    @abstractmethod
    def hessian_times(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        """The direction S dz of each sample, of a direction dz."""

    @abstractmethod
    def directions(self, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        """Of samples `rows` (n,): the residual and roots of S, on average where they are drawn."""

    @abstractmethod
    def told(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n, K') float64."""

    @abstractmethod
    def losses_told(self, told: Tensor, rows: Tensor) -> Tensor:
        """ℓ (n,) of samples `rows` (n,), of what `told` gives; of a text that of a token, on average."""

    @abstractmethod
    def combine(self, told: Tensor) -> Tensor:
        """(n, K') of the models together, of what `told` gives of each (S, n, K')."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class OnePrediction(SampleLoss):
    """Outputs (n, K) and one target a sample.

    Attributes:
        targets: (N, …) of all samples, of the kind that the likelihood reads.
        roots: which directions stand for a sample.
        order_by: (N,) how many directions a sample needs.
    """

    likelihood: Likelihood
    targets: Tensor
    roots: Roots
    order_by: Tensor | None = None

    @property
    def is_sampled(self) -> bool:
        return self.roots.is_drawn

    @property
    def is_padded(self) -> bool:
        return False

    @property
    def n_told(self) -> int:
        """K."""
        return self.likelihood.n_outputs

    @property
    def n_directions(self) -> int:
        return self.roots.n_directions(self.likelihood.n_outputs)

    def require(self, outputs: Tensor, n: int) -> None:
        expected = (n, self.likelihood.n_outputs)
        if tuple(outputs.shape) != expected:
            raise InputError(f"The module gives outputs of shape {tuple(outputs.shape)} for {n} samples; expected {expected}.")

    def targets_of(self, rows: Tensor, given: Tensor) -> Tensor:
        return self.targets[rows]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.likelihood.loss(outputs, targets)

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.likelihood.residual(self.likelihood.state(outputs.double()), targets)

    def hessian_times(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        return self.likelihood.residual_derivative(self.likelihood.state(outputs.double()), direction.double())

    def directions(self, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        return self.roots.directions(self.likelihood, rows, outputs, targets)

    def told(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """z."""
        return outputs.double()

    def losses_told(self, told: Tensor, rows: Tensor) -> Tensor:
        return self.likelihood.loss(told, self.targets[rows])

    def combine(self, told: Tensor) -> Tensor:
        return self.likelihood.combine(told)


@final
@dataclass(frozen=True, slots=True, eq=False)
class TokenPredictions(SampleLoss):
    """Outputs (n, T, K) of the tokens of a text and a class for each (n, T), `IGNORED` where one does not count.

    A sample's loss is the sum or the mean of those of its tokens, each −ln p. Its S is that of many outputs, T·K; so its roots
    are drawn: the residuals for labels drawn from what the module predicts (Fisher's information by sampling).

    Attributes:
        likelihood: of one token.
        ahead: whether the outputs at a token predict the next one.
        mean: whether the tokens of a sample count as much as one together; else each counts as one.
        draws: of labels, for the roots of a sample.
        seed: of the draws.
        order_by: (N,) how many tokens count.
    """

    likelihood: Softmax
    ahead: bool
    mean: bool
    draws: int
    seed: int
    order_by: Tensor | None = None

    @property
    def is_sampled(self) -> bool:
        return True

    @property
    def is_padded(self) -> bool:
        return True

    @property
    def n_told(self) -> int:
        """The mean loss of its tokens alone."""
        return 1

    @property
    def n_directions(self) -> int:
        return 1 + self.draws

    def require(self, outputs: Tensor, n: int) -> None:
        n_outputs = self.likelihood.n_outputs
        if outputs.ndim != 3 or len(outputs) != n or outputs.shape[2] != n_outputs:
            raise InputError(
                f"The module gives outputs of shape {tuple(outputs.shape)} for {n} samples; expected ({n}, T, {n_outputs})."
            )

    def targets_of(self, rows: Tensor, given: Tensor) -> Tensor:
        """Those that the outputs at each token are compared with."""
        if not self.ahead:
            return given
        return torch.cat([given[:, 1:], torch.full_like(given[:, :1], IGNORED)], 1)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = self.likelihood.loss(outputs, targets.clamp(min=0))
        return (losses * self._weights(targets).to(losses.dtype)).sum(1)

    def residual(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.likelihood.residual(self._state(outputs), targets.clamp(min=0)) * self._wide(targets)

    def hessian_times(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        return self.likelihood.residual_derivative(self._state(outputs), direction) * self._wide(targets)

    def directions(self, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        """The residual is none of the roots."""
        state = self._state(outputs)
        scale = (self._wide(targets) / self.draws).sqrt()
        summed, one = state.cumsum(2), state.new_ones(len(state))
        roots = [
            self.likelihood.residual(state, _drawn(summed, self._uniform(rows, draw, targets))) * scale
            for draw in range(self.draws)
        ]
        return Directions([self.residual(outputs, targets), *roots], one, torch.zeros_like(one), self.draws)

    def told(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of its tokens."""
        counted, losses = targets != IGNORED, self.likelihood.loss(outputs.double(), targets.clamp(min=0))
        return ((losses * counted).sum(1) / counted.sum(1))[:, None]

    def losses_told(self, told: Tensor, rows: Tensor) -> Tensor:
        return told[:, 0]

    def combine(self, told: Tensor) -> Tensor:
        """The mean."""
        return told.mean(0)

    def _weights(self, targets: Tensor) -> Tensor:
        """How much the loss of each token counts (n, T), float64."""
        counted = (targets != IGNORED).double()
        return counted / counted.sum(1, keepdim=True).clamp(min=1.0) if self.mean else counted

    def _wide(self, targets: Tensor) -> Tensor:
        return self._weights(targets)[:, :, None]

    def _state(self, outputs: Tensor) -> Tensor:
        return self.likelihood.state(outputs.double())

    def _uniform(self, rows: Tensor, draw: int, targets: Tensor) -> Tensor:
        """(n, T) in [0, 1), for a sample and a drawing the same in every batch, however far it is padded."""
        seeds = seeds_of(rows, self.draws, draw, self.seed)
        drawn = [torch.rand(targets.shape[1], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn).to(targets.device, torch.float64)


def _drawn(summed: Tensor, uniform: Tensor) -> Tensor:
    """Labels (n, T) of which the probabilities are summed up (n, T, K), by uniform numbers."""
    found = torch.searchsorted(summed, uniform[:, :, None] * summed[:, :, -1:], right=True)
    return found[:, :, 0].clamp(max=summed.shape[2] - 1)
