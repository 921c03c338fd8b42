"""What training step by step receives: the data, a probe with or without hidden layers, and the objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.models.mlp import MlpProbe, Trace, clip_of
from lapsi.problem.objective import Objective

Rows = slice | Tensor
BLOCK_ENTRIES = 2**21


@dataclass(frozen=True, slots=True)
class NetworkProblem:
    """A softmax probe, its layers in plain coordinates, on N labelled samples.

    Attributes:
        inputs: X (N, D) float64, its last column 1.
        labels: y (N,) int64 in 0…C−1.
        probe: shapes and passes.
        objective: weight decay, prior and removal convention.
    """

    inputs: Tensor
    labels: Tensor
    probe: MlpProbe
    objective: Objective

    @property
    def n_samples(self) -> int:
        """N."""
        return len(self.labels)

    def trace(self, params: Tensor, rows: Rows) -> Trace:
        """Both passes over the samples `rows` (n,) under params (P,)."""
        return self.probe.trace(params, take(self.inputs, rows), take(self.labels, rows))

    def own_trace(self, params: Tensor, indices: Tensor) -> Trace:
        """Both passes of model b (B, P) over the one sample indices[b] (B,); the axis of samples has length 1."""
        inputs = self.inputs.index_select(0, indices)[:, None].to(params.dtype)
        return self.probe.trace(params, inputs, self.labels[indices][:, None])

    def gradient(self, trace: Trace, clip_norm: float | None) -> Tensor:
        """Σ of the (clipped) per-sample gradients of a trace (…, P)."""
        return self.probe.gradient(trace, clip_of(trace, clip_norm))

    def gradient_sum(self, params: Tensor, rows: Rows, clip_norm: float | None) -> Tensor:
        """Σ of the (clipped) gradients (P,) of the samples `rows` under params (P,), block by block."""
        total = torch.zeros_like(params)
        for part in row_blocks(rows, max(16, BLOCK_ENTRIES // sum(self.probe.sizes))):
            total += self.gradient(self.trace(params, part), clip_norm)
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
