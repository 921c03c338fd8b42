"""Which samples take part in which step. Membership never depends on the sample that is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapsi.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one step.

    Attributes:
        rows: a slice of the data, or indices (n,).
        normalizer: what their summed gradient is divided by.
        shrinks: whether that falls by one where the sample left out is a member.
    """

    rows: slice | Tensor
    normalizer: int
    shrinks: bool

    def holds(self, indices: Tensor) -> Tensor:
        """Which of the samples `indices` (B,) are members (B,)."""
        if isinstance(self.rows, slice):
            return (indices >= self.rows.start) & (indices < self.rows.stop)
        return torch.isin(indices, self.rows)


def steps_per_epoch(recipe: Recipe, n_samples: int) -> int:
    """Steps that one epoch takes."""
    if recipe.batching == "full":
        return 1
    size = rows_per_step(recipe, n_samples)
    return round(n_samples / size) if recipe.batching == "poisson" else -(-n_samples // size)


def batches(recipe: Recipe, n_samples: int, random: np.random.Generator, device: torch.device) -> Iterator[Batch]:
    """The batches of one epoch; `random` decides what is random about them."""
    size, shrinks = rows_per_step(recipe, n_samples), not recipe.public_divisor
    if recipe.batching == "poisson":
        for _ in range(steps_per_epoch(recipe, n_samples)):
            members = random.choice(n_samples, random.binomial(n_samples, size / n_samples), replace=False)
            yield Batch(torch.from_numpy(np.sort(members)).to(device), size, shrinks)
        return
    order = torch.from_numpy(random.permutation(n_samples)).to(device) if recipe.batching == "shuffled" else None
    for start in range(0, n_samples, size):
        stop = min(start + size, n_samples)
        rows = slice(start, stop) if order is None else order[start:stop]
        yield Batch(rows, stop - start if shrinks else size, shrinks)


def rows_per_step(recipe: Recipe, n_samples: int) -> int:
    """Samples of a batch, of Poisson batches on average."""
    return n_samples if recipe.batch_size is None else min(recipe.batch_size, n_samples)
