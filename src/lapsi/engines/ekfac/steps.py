"""The Newton step of a sample that leaves a module, from what it says of the parameters (docs/math.md, Any network).

With g and R of the sample (`lapsi.curvature.said`) and H₋ᵢ the Hessian of the others:
    shift = H₋ᵢ⁻¹ (g + Δl2·params)

Legend of the indices: n sample that leaves, a b root, p parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """What n samples say of some parameters, one after the other.

    Attributes:
        right: (n, p) what the step solves for.
        root: (n, r, p).
    """

    right: Tensor
    root: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class StepTaken:
    """The step of n samples.

    Attributes:
        shift: (n, P), in the dtype of the roots.
        leverage: (n,) float64, tr(RᵀH⁻¹R), H with the sample.
        squares: (n, P) Σ_a R_a², where the step took them; else None.
    """

    shift: Tensor
    leverage: Tensor
    squares: Tensor | None


class Hessian(ABC):
    """The GGN and the L2 term, with all samples."""

    @abstractmethod
    def solve(self, vector: Tensor) -> Tensor:
        """H⁻¹ times a vector (P,)."""

    @abstractmethod
    def step(self, sides: Iterable[Sides], drop: Tensor) -> StepTaken:
        """H₋ᵢ⁻¹ times what stands on the right, of all parameters part by part, and what leaves of the L2 strength (n,)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class DiagonalHessian(Hessian):
    """Diagonal for the samples that stay: H₋ᵢ = diag(diagonal − Σ_a R_a²), less what leaves of the L2 strength.

    The sample's own part is whole: H = H₋ᵢ + R Rᵀ, so that its leverage is less than 1 along each root. (With a diagonal H
    instead, the roots of a sample may say more than all of H does.)

    Attributes:
        diagonal: (P,) with all samples.
    """

    diagonal: Tensor

    def solve(self, vector: Tensor) -> Tensor:
        return vector / self.diagonal

    def step(self, sides: Iterable[Sides], drop: Tensor) -> StepTaken:
        shifts, squares, start = [], [], 0
        gram = torch.zeros((), dtype=torch.float64, device=drop.device)
        for side in sides:
            stop, dtype = start + side.right.shape[1], side.root.dtype
            own = side.root.square().sum(1)
            left = (self.diagonal[start:stop] - own.double() - drop[:, None]).to(dtype)
            shifts.append(side.right / left)
            scaled = side.root * left.rsqrt()[:, None]
            gram, start = gram + (scaled @ scaled.mT).double(), stop
            squares.append(own)
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        leverage = torch.einsum("naa->n", torch.linalg.solve(identity + gram, gram))
        return StepTaken(torch.cat(shifts, 1), leverage, torch.cat(squares, 1))


@final
@dataclass(frozen=True, slots=True, eq=False)
class DenseHessian(Hessian):
    """The whole of it by its eigenvectors: H₋ᵢ⁻¹ = M⁻¹ + M⁻¹R (I − RᵀM⁻¹R)⁻¹ RᵀM⁻¹, M = H less what leaves of the L2 strength
    (Woodbury 1950).

    Attributes:
        values: of H (P,) float64.
        vectors: its eigenvectors (P, P).
    """

    values: Tensor
    vectors: Tensor

    def solve(self, vector: Tensor) -> Tensor:
        return self.vectors @ ((self.vectors.T @ vector) / self.values)

    def step(self, sides: Iterable[Sides], drop: Tensor) -> StepTaken:
        known = list(sides)
        right, root = (
            torch.cat(parts, -1).double() for parts in ([each.right for each in known], [each.root for each in known])
        )
        left, root = self.values - drop[:, None], root @ self.vectors
        first, solved = right @ self.vectors / left, root / left[:, None]
        gram = torch.einsum("nap,nbp->nab", root, solved)
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        reaction = torch.linalg.solve(identity - gram, torch.einsum("nap,np->na", root, first))
        shift = first + torch.einsum("nap,na->np", solved, reaction)
        return StepTaken(shift @ self.vectors.T, torch.einsum("naa->n", gram), None)
