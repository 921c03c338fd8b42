"""Shifts of many outputs, told in plain weights, in the directions that the loss sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from lapsi.curvature.base import Curvature
from lapsi.precision.base import Terms
from lapsi.precision.divergence import Divergence
from lapsi.problem.removed import Removed


@final
@dataclass(frozen=True, slots=True, eq=False)
class SeenCurvature(Curvature):
    """The posterior of a problem in its own directions, for shifts (n, K, D) in outputs.

    Attributes:
        curvature: in directions.
        basis: V (K, F), as of its problem.
    """

    curvature: Curvature
    basis: Tensor

    @property
    def form(self) -> str:
        return self.curvature.form

    @property
    def kind(self) -> Divergence:  # type: ignore[override]
        return self.curvature.kind

    def by(self, kind: Divergence) -> Self:
        return replace(self, curvature=self.curvature.by(kind))

    def reference(self) -> Curvature:
        return SeenCurvature(self.curvature.reference(), self.basis)

    def exact(self, n_units: int) -> Curvature | None:
        exact = self.curvature.exact(n_units)
        return None if exact is None else SeenCurvature(exact, self.basis)

    def divergence(self, removed: Removed) -> Terms:
        shift = torch.einsum("cm,nck->nmk", self.basis.to(removed.shift.dtype), removed.shift)
        return self.curvature.divergence(replace(removed, shift=shift))
