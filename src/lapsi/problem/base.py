"""What every problem offers: what is minimised over a data set, and what is left of it when samples leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.mlp import Mlp
from lapsi.problem.objective import Objective


class Problem(ABC):
    """Σ_j loss_j + (l2/2)‖params‖² over N samples: model × likelihood × objective on shared data, some samples masked out."""

    inputs: Tensor
    targets: Tensor
    likelihood: Likelihood
    objective: Objective

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Samples that are there."""

    @abstractmethod
    def remove(self, rows: Tensor) -> Self:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""

    @property
    @abstractmethod
    def plain_model(self) -> Mlp:
        """The model in plain weights, for predictions."""

    @abstractmethod
    def plain_params(self, params: Tensor) -> Tensor:
        """Params in the coordinates of the problem as those (P,) of `plain_model`."""

    @abstractmethod
    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (n, K) of samples `rows` (n,), there or not, under params."""
