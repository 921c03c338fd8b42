"""Directions of the outputs along which a sample moves the loss and bends it.

    ∂ℓ/∂z = r = α u_0,   S = β² u_0u_0ᵀ + Σ_a u_au_aᵀ

The residual is the first: S less the largest multiple of r rᵀ that it holds lacks a direction, so that a pass backwards along
the residual serves both. The others are eigenvectors of what is left, as few as matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, hessian_among

MOST_OUTPUTS = 64  # among which eigenvectors are looked for
ROUNDING = 1e-13  # of the trace of S
ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Of n samples.

    Attributes:
        vectors: u_a, each in the shape of the outputs (n, …).
        residual: α (n,) float64.
        root: β (n,) float64; 0 where the residual is none of the roots.
    """

    vectors: list[Tensor]
    residual: Tensor
    root: Tensor


def fewest_directions(likelihood: Likelihood, outputs: Tensor, targets: Tensor, left_out: float) -> Directions:
    """Of outputs (n, K), float64; what they leave out of S has less than a share `left_out` of its trace.

    Columns that a sample has no need of are 0. Of many outputs only those of the largest variances are looked at, no more
    than 64.
    """
    state = likelihood.state(outputs.detach().double())
    residual = likelihood.residual(state, targets)
    first = _first(likelihood, state, targets, residual)
    norm, root = residual.norm(dim=1), first.norm(dim=1)
    vectors, needed = _rest(likelihood, state, first, left_out)
    along = residual / norm.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    return Directions([along, *vectors[:, :, : int(needed.max())].unbind(2)], norm, root)


def n_directions_needed(likelihood: Likelihood, outputs: Tensor, targets: Tensor, left_out: float) -> Tensor:
    """(n,) how many `fewest_directions` takes for each sample."""
    found = []
    for some, wanted in zip(outputs.split(ROWS), targets.split(ROWS), strict=True):
        state = likelihood.state(some.detach().double())
        first = _first(likelihood, state, wanted, likelihood.residual(state, wanted))
        found.append(1 + _rest(likelihood, state, first, left_out)[1])
    return torch.cat(found)


def _first(likelihood: Likelihood, state: Tensor, targets: Tensor, residual: Tensor) -> Tensor:
    """√ρ r (n, K) with the largest ρ that leaves S − ρ r rᵀ positive semidefinite; 0 where the residual r is 0 to rounding."""
    first = likelihood.residual_share(state, targets).sqrt()[:, None] * residual
    return first.where(first.isfinite().all(1, keepdim=True), 0.0)


def _rest(likelihood: Likelihood, state: Tensor, first: Tensor, left_out: float) -> tuple[Tensor, Tensor]:
    """Roots (n, K, s) of S − first·firstᵀ, the longest before the others, and how many of them each sample needs (n,)."""
    whole = likelihood.variance(state)
    variance = (whole - first.square()).clamp(min=0.0)
    n_outputs = state.shape[1]
    if n_outputs <= MOST_OUTPUTS:
        support, hessian = torch.arange(n_outputs, device=state.device).expand(len(state), -1), likelihood.hessian(state)
    else:
        support = variance.topk(MOST_OUTPUTS, dim=1).indices
        hessian = hessian_among(likelihood, state, support)
    known = first.gather(1, support)
    values, vectors = torch.linalg.eigh(hessian - known[:, :, None] * known[:, None])
    values, vectors = values.flip(1).clamp(min=0.0), vectors.flip(2)
    kept = torch.nn.functional.pad(values.cumsum(1), (1, 0))
    beyond = variance.sum(1, keepdim=True) - kept > max(left_out, ROUNDING) * whole.sum(1, keepdim=True)
    needed = beyond.sum(1).clamp(max=values.shape[1])
    used = torch.arange(values.shape[1], device=state.device) < needed[:, None]
    columns = vectors * (values * used).sqrt()[:, None]
    found = columns.new_zeros(len(state), n_outputs, values.shape[1])
    return found.scatter_(1, support[:, :, None].expand(-1, -1, values.shape[1]), columns), needed
