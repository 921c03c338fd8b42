"""Block diagonal precision: one block, or one a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lapsi.precision.base import KLTerms, Precision


@dataclass(frozen=True, slots=True)
class LaplacePosterior:
    """N(params, Λ⁻¹) with Λ block diagonal: one block for `diag` and `full`, one a layer for `kfac`.

    Attributes:
        blocks: the precisions, in the order of the params.
        sizes: how many params each block has.
    """

    blocks: tuple[Precision[Any], ...]
    sizes: tuple[int, ...]

    def kl_to(self, shift: Tensor, other: LaplacePosterior) -> KLTerms:
        """KL from this posterior to `other`, whose params are those of this one plus `shift` (P,) float64; terms (1,)."""
        parts = zip(self.blocks, shift.split(list(self.sizes)), other.blocks, strict=True)
        terms = [block.kl_to(part, after) for block, part, after in parts]
        return KLTerms(
            torch.stack([term.mean for term in terms]).sum(0), torch.stack([term.curvature for term in terms]).sum(0)
        )
