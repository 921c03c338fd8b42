"""What training step by step receives: the data, a model with or without hidden layers, a likelihood and the objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.mlp import Mlp
from lapsi.models.passes import ForwardBackward, clip_of
from lapsi.problem.base import DescentProblem, ProbeProblem, total_weight, weight_of
from lapsi.problem.objective import Objective

Rows = slice | Tensor
BLOCK_ENTRIES = 2**21


@final
@dataclass(frozen=True, slots=True, eq=False)
class NetworkProblem(ProbeProblem, DescentProblem):
    """A model, its layers in plain coordinates, on N samples.

    Attributes:
        inputs: X (N, D) float64, its last column 1.
        targets: (N, …), one entry a sample, of the kind that the likelihood reads.
        model: shapes and passes.
        likelihood: the loss.
        objective: weight decay, prior and removal convention.
        weights: a (N,) float64, or None where each sample counts once.
        removed: (r,) the samples that have left, or None.
    """

    inputs: Tensor
    targets: Tensor
    model: Mlp
    likelihood: Likelihood
    objective: Objective
    weights: Tensor | None = None
    removed: Tensor | None = None

    @property
    def plain_model(self) -> Mlp:
        """The model itself."""
        return self.model

    def plain_params(self, params: Tensor) -> Tensor:
        """`params`, which are plain already."""
        return params

    @property
    def n_samples(self) -> int:
        """Samples that are there."""
        return len(self.inputs) - (0 if self.removed is None else len(self.removed))

    @property
    def total(self) -> float:
        """W, the sum of their weights."""
        return total_weight(self.weights, len(self.inputs), self.removed)

    def remove(self, rows: Tensor) -> NetworkProblem:
        """The problem of a training without the samples `rows` (g,): a mask, the data are shared."""
        removed = rows if self.removed is None else torch.cat([self.removed, rows])
        leaving = float(weight_of(self, rows).sum())
        return replace(self, removed=removed, objective=self.objective.without(self.total, leaving))

    def plain_inputs(self, rows: slice | Tensor) -> Tensor:
        """Inputs (n, D) of samples `rows`."""
        return self.inputs[rows]

    def outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (n, K) of samples `rows` (n,), there or not, under params (P,)."""
        return self.model.outputs(params, self.inputs[rows])

    @property
    def device(self) -> torch.device:
        """Of the data."""
        return self.inputs.device

    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 where training starts, on the device of the data."""
        return self.model.initial(seed).to(self.inputs.device)

    def own_outputs(self, params: Tensor, rows: Tensor) -> Tensor:
        """z (B, K) of sample rows[b] (B,) under params[b] (B, P)."""
        return self.model.outputs(params, self.inputs[rows][:, None])[:, 0]

    def forward_backward(self, params: Tensor, rows: Rows) -> ForwardBackward:
        """Both passes over the samples `rows` (n,) under params (P,)."""
        inputs, targets = take(self.inputs, rows), take(self.targets, rows)
        return self.model.forward_backward(params, inputs, targets, self.likelihood, self.weights_of(rows))

    def own_forward_backward(self, params: Tensor, rows: Tensor) -> ForwardBackward:
        """Both passes of model b (B, P) over the one sample rows[b] (B,); the axis of samples has length 1."""
        inputs = self.inputs.index_select(0, rows)[:, None].to(params.dtype)
        weights = self.weights_of(rows)
        own = None if weights is None else weights[:, None]
        return self.model.forward_backward(params, inputs, self.targets[rows][:, None], self.likelihood, own)

    def weights_of(self, rows: Rows) -> Tensor | None:
        """Weights of the samples `rows` (n,), or None where each counts once."""
        return None if self.weights is None else take(self.weights, rows)

    def gradient(self, passes: ForwardBackward, clip_norm: float | None) -> Tensor:
        """Σ of the (clipped) per-sample gradients (…, P)."""
        return self.model.gradient(passes, clip_of(passes, clip_norm))

    def gradient_sum(self, params: Tensor, rows: Rows, clip_norm: float | None) -> Tensor:
        """Σ of the (clipped) gradients (P,) of the samples `rows` under params (P,), block by block."""
        total = torch.zeros_like(params)
        for part in row_blocks(rows, max(16, BLOCK_ENTRIES // sum(self.model.sizes))):
            total += self.gradient(self.forward_backward(params, part), clip_norm)
        return total


def take(tensor: Tensor, rows: Rows) -> Tensor:
    """The rows of a tensor: a view for a slice, a copy for indices."""
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)


def row_blocks(rows: Rows, size: int) -> Iterator[Rows]:
    """`rows` in parts of at most `size`."""
    if isinstance(rows, slice):
        for start in range(rows.start, rows.stop, size):
            yield slice(start, min(start + size, rows.stop))
    elif len(rows) > 0:
        yield from rows.split(size)
