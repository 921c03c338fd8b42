"""Directions of the outputs along which a sample moves the loss and bends it.

    ∂ℓ/∂z = r = α u_0,   S = β² u_0u_0ᵀ + Σ_a u_au_aᵀ

The residual is the first: S less the largest multiple of r rᵀ that it holds lacks a direction, so that a pass backwards along
the residual serves both. The others are eigenvectors of what is left, as few as matter. Where those of a few outputs are not
enough, roots are drawn (`lapsi.models.module.signed_roots`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.likelihoods.base import Likelihood, hessian_among

MOST_OUTPUTS = 64  # among which eigenvectors are looked for, where some of S may be left out
FEW_DIRECTIONS = 4  # of a sample, as seen
ROUNDING = 1e-13  # of the trace of S
ENTRIES = 2**24  # of the matrices of some samples


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Of n samples.

    Attributes:
        vectors: u_a, each in the shape of the outputs (n, …).
        residual: α (n,) float64.
        root: β (n,) float64; 0 where the residual is none of the roots.
        n_drawn: how many of the vectors, the last ones, are drawn: each of the others says what it says, these only together
            and on average.
    """

    vectors: list[Tensor]
    residual: Tensor
    root: Tensor
    n_drawn: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """What the directions of n samples come to.

    Attributes:
        count: (n,) how many are chosen.
        beyond: (n,) float64, share of the trace of S that these do not hold.
    """

    count: Tensor
    beyond: Tensor


class Roots(ABC):
    """Which directions of its outputs (n, K) stand for a sample."""

    @property
    @abstractmethod
    def is_drawn(self) -> bool:
        """Whether some of them are."""

    @abstractmethod
    def n_directions(self, n_outputs: int) -> int:
        """About how many a sample has."""

    @abstractmethod
    def directions(self, likelihood: Likelihood, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        """Of samples `rows` (n,)."""


@final
@dataclass(frozen=True, slots=True)
class FewestRoots(Roots):
    """The residual and the fewest eigenvectors that leave out less than a share of the trace of S.

    Attributes:
        left_out: the share; for 0 they say all of S.
    """

    left_out: float

    @property
    def is_drawn(self) -> bool:
        return False

    def n_directions(self, n_outputs: int) -> int:
        return n_outputs if self.left_out == 0 and n_outputs > MOST_OUTPUTS else min(n_outputs, FEW_DIRECTIONS)

    def directions(self, likelihood: Likelihood, rows: Tensor, outputs: Tensor, targets: Tensor) -> Directions:
        return fewest_directions(likelihood, outputs, targets, self.left_out)


def fewest_directions(likelihood: Likelihood, outputs: Tensor, targets: Tensor, left_out: float) -> Directions:
    """Of outputs (n, K), float64; what they leave out of S has less than a share `left_out` of its trace.

    Columns that a sample has no need of are 0. Of many outputs only those of the largest variances are looked at, no more
    than 64, unless nothing may be left out; `directions_needed` tells what lies beyond.
    """
    state = likelihood.state(outputs.detach().double())
    residual = likelihood.residual(state, targets)
    first = _first(likelihood, state, targets, residual)
    norm, root = residual.norm(dim=1), first.norm(dim=1)
    vectors, needed = _rest(likelihood, state, first, left_out)
    count = int(needed.count.max())
    along = residual / norm.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    return Directions([along, *vectors[:, :, :count].unbind(2)], norm, root)


def directions_needed(likelihood: Likelihood, outputs: Tensor, targets: Tensor, left_out: float) -> Needed:
    """What `fewest_directions` takes for each sample, the residual among it."""
    counts, beyond = [], []
    size = max(1, ENTRIES // (outputs.shape[1] * _among(outputs.shape[1], left_out)))
    for some, wanted in zip(outputs.split(size), targets.split(size), strict=True):
        state = likelihood.state(some.detach().double())
        first = _first(likelihood, state, wanted, likelihood.residual(state, wanted))
        _, needed = _rest(likelihood, state, first, left_out)
        counts.append(1 + needed.count)
        beyond.append(needed.beyond)
    return Needed(torch.cat(counts), torch.cat(beyond))


def _among(n_outputs: int, left_out: float) -> int:
    """How many outputs are looked at."""
    return n_outputs if left_out == 0 else min(n_outputs, MOST_OUTPUTS)


def _first(likelihood: Likelihood, state: Tensor, targets: Tensor, residual: Tensor) -> Tensor:
    """√ρ r (n, K) with the largest ρ that leaves S − ρ r rᵀ positive semidefinite; 0 where the residual r is 0 to rounding."""
    first = likelihood.residual_share(state, targets).sqrt()[:, None] * residual
    return first.where(first.isfinite().all(1, keepdim=True), 0.0)


def _rest(likelihood: Likelihood, state: Tensor, first: Tensor, left_out: float) -> tuple[Tensor, Needed]:
    """Roots (n, K, s) of S − first·firstᵀ, the longest before the others, and which of them each sample needs."""
    whole = likelihood.variance(state)
    variance = (whole - first.square()).clamp(min=0.0)
    n_outputs = state.shape[1]
    if n_outputs == _among(n_outputs, left_out):
        support, hessian = torch.arange(n_outputs, device=state.device).expand(len(state), -1), likelihood.hessian(state)
    else:
        support = variance.topk(MOST_OUTPUTS, dim=1).indices
        hessian = hessian_among(likelihood, state, support)
    known = first.gather(1, support)
    values, vectors = torch.linalg.eigh(hessian - known[:, :, None] * known[:, None])
    values, vectors = values.flip(1).clamp(min=0.0), vectors.flip(2)
    kept = torch.nn.functional.pad(values.cumsum(1), (1, 0))
    beyond, trace = variance.sum(1, keepdim=True) - kept, whole.sum(1, keepdim=True)
    needed = (beyond > max(left_out, ROUNDING) * trace).sum(1).clamp(max=values.shape[1])
    share = beyond.gather(1, needed[:, None]).clamp(min=0.0) / trace.clamp(min=torch.finfo(torch.float64).tiny)
    used = torch.arange(values.shape[1], device=state.device) < needed[:, None]
    columns = vectors * (values * used).sqrt()[:, None]
    found = columns.new_zeros(len(state), n_outputs, values.shape[1])
    return found.scatter_(1, support[:, :, None].expand(-1, -1, values.shape[1]), columns), Needed(needed, share[:, 0])
