"""Two linear projections into one space, where what belongs together is to point the same way; in difference form.

Legend of the indices: b model, j sample, e dimension of the space, d feature (the last is the constant 1, the bias). A tower
projects u_j = A a_j, a unit vector is û_j = u_j/‖u_j‖, r_j = 1/‖u_j‖. `params` is (P,), both projections row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lapsi.models.activation import ACTIVATIONS
from lapsi.models.mlp import Mlp


@dataclass(frozen=True, slots=True)
class Units:
    """Unit vectors.

    Attributes:
        value: û (n, E).
        inverse: r (n, 1).
    """

    value: Tensor
    inverse: Tensor

    def to(self, dtype: torch.dtype) -> Units:
        """In another dtype."""
        return Units(self.value.to(dtype), self.inverse.to(dtype))

    def moved(self, change: Tensor) -> UnitsChange:
        """When the projections change by (n, E): r′ − r = −(‖u′‖² − ‖u‖²) r r′/(‖u‖ + ‖u′‖), û′ − û = Δu r′ + u Δr."""
        norm = 1 / self.inverse
        projected = self.value * norm
        growth = (change * (2 * projected + change)).sum(1, keepdim=True)
        moved_norm = (norm.square() + growth).sqrt()
        inverse_change = -growth * self.inverse / (moved_norm * (norm + moved_norm))
        return UnitsChange(change / moved_norm + projected * inverse_change, inverse_change)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """∂loss/∂u (n, E) from ∂loss/∂û: its part across û, times r."""
        along = (self.value * gradient).sum(1, keepdim=True)
        return (gradient - self.value * along) * self.inverse

    def pull_back_change(self, change: UnitsChange, gradient: Tensor, gradient_change: Tensor) -> Tensor:
        """Change of `pull_back` when the unit vectors change, and the gradient."""
        after = gradient + gradient_change
        along = (self.value * gradient).sum(1, keepdim=True)
        along_change = (change.value * after).sum(1, keepdim=True) + (self.value * gradient_change).sum(1, keepdim=True)
        across = gradient - self.value * along
        across_change = gradient_change - change.value * (along + along_change) - self.value * along_change
        return across_change * (self.inverse + change.inverse) + across * change.inverse


@dataclass(frozen=True, slots=True)
class UnitsChange:
    """What changes of `Units`: û′ − û (n, E), r′ − r (n, 1)."""

    value: Tensor
    inverse: Tensor


@final
@dataclass(frozen=True, slots=True)
class Towers:
    """Shapes of both projections.

    Attributes:
        widths: features of the first and of the second tower, the constant 1 included.
        n_dimensions: E.
    """

    widths: tuple[int, int]
    n_dimensions: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Params of each tower."""
        return self.widths[0] * self.n_dimensions, self.widths[1] * self.n_dimensions

    @property
    def n_params(self) -> int:
        """P."""
        return sum(self.sizes)

    def projections(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Views A, B (…, E, D) of params (…, P)."""
        first, second = params.split(list(self.sizes), -1)
        shape = (*params.shape[:-1], self.n_dimensions)
        return first.view(*shape, self.widths[0]), second.view(*shape, self.widths[1])

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """The inverse of `projections`."""
        return torch.cat([first.flatten(-2), second.flatten(-2)], -1)

    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 as two torch.nn.Linear draw them, one seed after the other."""
        layers = [Mlp((width, self.n_dimensions), ACTIVATIONS["relu"]) for width in self.widths]
        return torch.cat([layer.initial(2 * seed + number) for number, layer in enumerate(layers)])


def units(projected: Tensor) -> Units:
    """Of projections u (n, E)."""
    inverse = 1 / projected.norm(dim=1, keepdim=True)
    return Units(projected * inverse, inverse)
