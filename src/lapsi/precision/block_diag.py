"""Block diagonal precision: one block, or one a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lapsi.precision.base import Precision, Terms, summed
from lapsi.precision.divergence import Divergence


@dataclass(frozen=True, slots=True)
class LaplacePosterior:
    """N(params, Λ⁻¹) with Λ block diagonal: one block for `diag` and `full`, one a layer for `kfac`.

    Attributes:
        blocks: the precisions, in the order of the params.
        sizes: how many params each block has.
    """

    blocks: tuple[Precision[Any], ...]
    sizes: tuple[int, ...]

    def divergence_from(self, shift: Tensor, other: LaplacePosterior, kind: Divergence) -> Terms:
        """Of this posterior from `other`, whose params are those of this one plus `shift` (P,) float64; terms of one unit."""
        return summed(self.divergences_by_block(shift, other, kind))

    def divergences_by_block(self, shift: Tensor, other: LaplacePosterior, kind: Divergence) -> list[Terms]:
        """The same of each block alone."""
        parts = zip(self.blocks, shift.split(list(self.sizes)), other.blocks, strict=True)
        return [kind.of(block.compare_to(part, after)) for block, part, after in parts]
