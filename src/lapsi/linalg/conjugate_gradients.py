"""Preconditioned conjugate gradients for many right-hand sides at once (Hestenes and Stiefel 1952).

Legend of the indices: n right-hand side, r those that go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor, Tensor], Tensor]  # vectors (r, …) of some right-hand sides (r,) to a vector each


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What conjugate gradients found.

    Attributes:
        value: (n, …).
        residual: (n,) norm of what is left of the right-hand side over that of all of it, both in the metric of the
            preconditioner.
        n_iterations: products that were taken.
    """

    value: Tensor
    residual: Tensor
    n_iterations: int


def conjugate_gradients(
    product: Operator,
    right: Tensor,
    precondition: Operator,
    *,
    tolerance: float,
    max_iterations: int,
    start: Tensor | None = None,
) -> Solution:
    """Solves a symmetric positive definite system for each right-hand side, until its residual is below `tolerance`.

    One that is solved is no longer multiplied. Where `max_iterations` do not suffice the residual says so.

    Args:
        product: of the matrix of each.
        right: (n, …) right-hand sides.
        precondition: about the inverse of that matrix, symmetric positive definite.
        tolerance: of the residual.
        max_iterations: products at most.
        start: (n, …) where to begin; 0 without it.
    """
    everyone = torch.arange(len(right), device=right.device)
    value = torch.zeros_like(right) if start is None else start.clone()
    left = right.clone() if start is None else right - product(value, everyone)
    whole = _dot(right, precondition(right, everyone))
    active, n_iterations = everyone, 0
    guided = precondition(left, active)
    direction, squared = guided, _dot(left, guided)
    residual = _share(squared, whole)
    while n_iterations < max_iterations:
        goes_on = residual[active] > tolerance
        if not bool(goes_on.any()):
            break
        if not bool(goes_on.all()):
            active, direction, left, squared = (part[goes_on] for part in (active, direction, left, squared))
        image = product(direction, active)
        length = squared / _dot(direction, image)
        value[active] += _times(length, direction)
        left = left - _times(length, image)
        guided = precondition(left, active)
        before, squared = squared, _dot(left, guided)
        direction = guided + _times(squared / before, direction)
        residual[active] = _share(squared, whole[active])
        n_iterations += 1
    return Solution(value, residual, n_iterations)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(n,) float64."""
    return torch.einsum("np,np->n", first.flatten(1).double(), second.flatten(1).double())


def _share(squared: Tensor, whole: Tensor) -> Tensor:
    """√(squared/whole) (n,), 0 where there is nothing to solve."""
    return torch.where(whole == 0, 0.0, (squared / whole).sqrt())


def _times(factors: Tensor, vectors: Tensor) -> Tensor:
    """Each vector (n, …) times its own factor (n,)."""
    return factors.to(vectors.dtype).view(-1, *[1] * (vectors.ndim - 1)) * vectors
