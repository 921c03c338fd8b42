"""What every problem offers: what is minimised over a data set, and what is left of it when samples leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.mlp import Mlp
from lapsi.problem.objective import Objective

PADDING = -1  # a row of units (n, g) of fewer than g samples: it stands for the last sample of the data, with weight 0


class Problem(ABC):
    """Σ_j a_j loss_j + (l2/2)‖params‖²: model × likelihood × objective on shared data, some samples masked out.

    The weights a_j are 1 where `weights` is None.
    """

    weights: Tensor | None
    objective: Objective

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Samples that are there."""

    @property
    @abstractmethod
    def total(self) -> float:
        """W, the sum of their weights."""

    @abstractmethod
    def remove(self, rows: Tensor) -> Self:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """K, numbers that `outputs` tells of a sample."""

    @abstractmethod
    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (n, K) float64 of samples `rows` (n,), there or not, under params."""

    @abstractmethod
    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """ℓ (n,) of samples `rows` (n,) with `outputs` (n, K); of a text that of a token, on average."""

    @abstractmethod
    def combine(self, outputs: Tensor) -> Tensor:
        """(n, K) of several models together, of the outputs (S, n, K) of each."""


class DescentProblem(Problem):
    """One that training step by step minimises, its params one vector (P,) in plain coordinates."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Of the data."""

    @abstractmethod
    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 where training starts, on the device of the data."""

    @abstractmethod
    def own_outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (B, K) float64 of sample rows[b] (B,), there or not, under params[b] (B, P)."""

    @abstractmethod
    def gradient_sum(self, params: Tensor, rows: slice | Tensor, clip_norm: float | None) -> Tensor:
        """Gradient (P,) of the sum of the losses of samples `rows` alone under params (P,), each clipped where asked."""


class ProbeProblem(Problem):
    """That of a probe on features, which are held as one matrix, with one target a sample."""

    inputs: Tensor
    targets: Tensor
    likelihood: Likelihood

    @property
    def n_outputs(self) -> int:
        return self.likelihood.n_outputs

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.likelihood.loss(outputs, self.targets[rows])

    def combine(self, outputs: Tensor) -> Tensor:
        return self.likelihood.combine(outputs)

    @property
    @abstractmethod
    def plain_model(self) -> Mlp:
        """The model in plain weights, for predictions."""

    @abstractmethod
    def plain_params(self, params: Tensor) -> Tensor:
        """Params in the coordinates of the problem as those (P,) of `plain_model`."""

    @abstractmethod
    def plain_inputs(self, rows: slice | Tensor) -> Tensor:
        """Inputs (n, d) of samples `rows`, as `plain_model` reads them."""


def weight_of(problem: Problem, rows: Tensor) -> Tensor:
    """Weights of samples `rows`, float64, in their shape; 0 where a row is `PADDING`."""
    there = (rows != PADDING).double()
    return there if problem.weights is None else problem.weights[rows] * there


def total_weight(weights: Tensor | None, n_rows: int, removed: Tensor | None) -> float:
    """Sum of the weights of N samples without those that have left."""
    if weights is None:
        return float(n_rows - (0 if removed is None else len(removed)))
    return float(weights.sum() - (0.0 if removed is None else weights[removed].sum()))


def mean_weight(problem: Problem) -> float:
    """Mean weight of the samples that are there."""
    return problem.total / problem.n_samples
