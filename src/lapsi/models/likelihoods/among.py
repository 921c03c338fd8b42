"""S of few of many outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood


def hessian_among(likelihood: Likelihood, state: Tensor, support: Tensor) -> Tensor:
    """S (n, s, s) among the outputs of each support (n, s), from state (n, K)."""
    columns = []
    for place in range(support.shape[1]):
        direction = torch.zeros_like(state).scatter_(1, support[:, place : place + 1], 1.0)
        columns.append(likelihood.residual_derivative(state, direction).gather(1, support))
    return torch.stack(columns, 2)
