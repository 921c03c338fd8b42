"""The Newton step of a sample that leaves a module, from what it says of the parameters (docs/math.md, Any network).

With H the GGN and the L2 term that is left, g and R of the sample (`lapsi.curvature.said`):
    shift = (H − R Rᵀ)⁻¹ (g + Δl2·params) = y + H⁻¹R (I − RᵀH⁻¹R)⁻¹ Rᵀy,  y = H⁻¹(g + Δl2·params)

Legend of the indices: n sample that leaves, r root, p parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Inverse(ABC):
    """H⁻¹ at the L2 strength that is left when a sample leaves."""

    @abstractmethod
    def times(self, vectors: Tensor, drop: Tensor) -> Tensor:
        """Of vectors (n, …, P) float64 of samples whose leaving takes `drop` (n,) of the L2 strength."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DiagonalInverse(Inverse):
    """H = diag(diagonal), (P,), with all samples."""

    diagonal: Tensor

    def times(self, vectors: Tensor, drop: Tensor) -> Tensor:
        return vectors / (self.diagonal - drop[:, None]).view(len(drop), *[1] * (vectors.ndim - 2), -1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseInverse(Inverse):
    """H⁻¹ (P, P) at the L2 strength that is left when a sample of mean weight leaves."""

    matrix: Tensor

    def times(self, vectors: Tensor, drop: Tensor) -> Tensor:
        return vectors @ self.matrix


@dataclass(frozen=True, slots=True, eq=False)
class StepTaken:
    """The step of n samples.

    Attributes:
        shift: (n, P) float64.
        leverage: (n,) tr(RᵀH⁻¹R).
    """

    shift: Tensor
    leverage: Tensor


def newton_step(inverse: Inverse, gradient: Tensor, root: Tensor, drop: Tensor, params: Tensor) -> StepTaken:
    """Of gradients (n, P) and roots (n, r, P); `drop` (n,) of the L2 strength, `params` (P,) of the optimum."""
    gradient, root = gradient.double(), root.double()
    first = inverse.times(gradient + drop[:, None] * params, drop)
    solved = inverse.times(root, drop)
    gram = torch.einsum("nap,nbp->nab", root, solved)
    projection = torch.einsum("nap,np->na", root, first)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    reaction = torch.linalg.solve(identity - gram, projection)
    shift = first + torch.einsum("nap,na->np", solved, reaction)
    return StepTaken(shift, torch.einsum("naa->n", gram))
