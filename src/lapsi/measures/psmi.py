"""Pointwise sliced mutual information of features and label (Wongso, Ghosh and Motani 2023).

    psmi(x, y) = mean over θ of ln p(θᵀx | y) / p(θᵀx),   θ uniform on the unit sphere

p(· | c) is the normal density of the class along θ, p their mixture by the shares of the classes. High: the features tell the
label; negative: they tell another one.

Legend of the indices: n sample, d feature, m direction, c class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lapsi.execution.progress import Advance
from lapsi.measures.base import Labelled, Measure
from lapsi.results.columns import Column

DIRECTIONS = 500
BLOCK_ENTRIES = 2**23
LEAST_VARIANCE = 1e-6  # of a class, over that of all samples: of a single sample, or equal ones


@final
class Psmi(Measure):
    """By 500 directions; `psmi_error` is the standard error of their mean."""

    name: ClassVar[str] = "psmi"
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "psmi",
            "PSMI",
            "pointwise sliced mutual information of features and label, nats; low: the features do not tell the label",
            "psmi",
            ".3f",
            "nats",
            "low",
        ),
        Column("psmi_error", "PSMI, error", "standard error of psmi over the directions drawn, nats", "psmi", ".1e", "nats"),
    )

    def n_steps(self, data: Labelled) -> int:
        return DIRECTIONS

    def compute(self, data: Labelled, advance: Advance) -> dict[str, np.ndarray]:
        total = data.inputs.new_zeros(len(data.labels))
        squares = torch.zeros_like(total)
        for directions in _directions(data):
            found = along(data.inputs[:, :-1] @ directions, data.labels, data.n_classes)
            total += found.sum(1)
            squares += found.square().sum(1)
            advance(directions.shape[1])
        mean = total / DIRECTIONS
        variance = (squares / DIRECTIONS - mean.square()).clamp(min=0.0) / (DIRECTIONS - 1)
        return {"psmi": mean.numpy(force=True), "psmi_error": variance.sqrt().numpy(force=True)}


def along(places: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """ln p(t | y) / p(t) (N, M) of places t (N, M) along M directions, for labels (N,)."""
    counts = torch.bincount(labels, minlength=n_classes).to(places.dtype)
    known = counts > 0
    sums = places.new_zeros(n_classes, places.shape[1]).index_add_(0, labels, places)
    means = sums / counts.clamp(min=1.0)[:, None]
    squares = torch.zeros_like(sums).index_add_(0, labels, (places - means[labels]).square())
    variances = torch.maximum(squares / counts.clamp(min=1.0)[:, None], LEAST_VARIANCE * places.var(0, correction=0))
    log_share = (counts / counts.sum()).log()
    log_density = torch.stack(
        [
            -0.5 * ((places - mean).square() / variance + variance.log() + math.log(2 * math.pi))
            for mean, variance in zip(means[known], variances[known], strict=True)
        ]
    )  # (c, N, M)
    mixture = torch.logsumexp(log_density + log_share[known][:, None, None], 0)
    place_of = known.cumsum(0) - 1
    own = log_density.gather(0, place_of[labels][None, :, None].expand(1, -1, places.shape[1]))[0]
    return own - mixture


def _directions(data: Labelled) -> Iterator[Tensor]:
    """Unit vectors (d, m), all of them block by block, the same however they are cut."""
    generator = torch.Generator().manual_seed(data.seed)
    drawn = torch.randn(DIRECTIONS, data.inputs.shape[1] - 1, dtype=torch.float64, generator=generator)
    unit = (drawn / drawn.norm(dim=1, keepdim=True)).to(data.inputs.device)
    yield from unit.T.split(max(1, BLOCK_ENTRIES // (len(data.labels) * data.n_classes)), 1)
