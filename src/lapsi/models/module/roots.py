"""Directions of the outputs along which a sample bends the loss: F (n, K, r) with F Fᵀ = S, as few columns as matter."""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, hessian_among

MOST_OUTPUTS = 64  # among which eigenvectors are looked for
ROWS = 4096


def fewest_roots(likelihood: Likelihood, outputs: Tensor, left_out: float) -> Tensor:
    """F (n, K, r) float64 of outputs (n, K): of each S the eigenvectors of the largest eigenvalues.

    The others sum to less than a share `left_out` of the trace; columns that a sample has no need of are 0. Of many outputs
    only those of the largest variances are looked at, no more than 64.
    """
    values, vectors, support, needed = _eigen(likelihood, outputs, left_out)
    n, n_outputs = outputs.shape
    size = int(needed.max())
    used = torch.arange(size, device=outputs.device) < needed[:, None]
    columns = vectors[:, :, :size] * (values[:, :size] * used).sqrt()[:, None]
    found = torch.zeros(n, n_outputs, size, dtype=torch.float64, device=outputs.device)
    return found.scatter_(1, support[:, :, None].expand(-1, -1, size), columns)


def n_roots_needed(likelihood: Likelihood, outputs: Tensor, left_out: float) -> Tensor:
    """(n,) how many columns `fewest_roots` has for each sample."""
    return torch.cat([_eigen(likelihood, some, left_out)[3] for some in outputs.split(ROWS)])


def _eigen(likelihood: Likelihood, outputs: Tensor, left_out: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each S eigenvalues (n, s) from the largest, eigenvectors (n, s, s), the outputs (n, s) that these are of, and how many
    are needed (n,)."""
    outputs = outputs.detach().double()
    state = likelihood.state(outputs)
    variance = likelihood.variance(state)
    n, n_outputs = outputs.shape
    if n_outputs <= MOST_OUTPUTS:
        hessian, support = likelihood.hessian(state), torch.arange(n_outputs, device=outputs.device).expand(n, -1)
    else:
        support = variance.topk(MOST_OUTPUTS, dim=1).indices
        hessian = hessian_among(likelihood, state, support)
    values, vectors = torch.linalg.eigh(hessian)
    values, vectors = values.flip(1).clamp(min=0.0), vectors.flip(2)
    beyond = variance.sum(1, keepdim=True) - values.cumsum(1)
    needed = 1 + (beyond > left_out * variance.sum(1, keepdim=True)).sum(1)
    return values, vectors, support, needed.clamp(max=values.shape[1])
