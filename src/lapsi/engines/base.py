"""What every leave-one-out engine yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class LooChunk:
    """Leave-one-out results of n samples.

    Attributes:
        indices: (n,) rows of the data set.
        shift: (n, C−1, D) params without the sample minus params with it.
        logits: (n, C) logits of each sample under the model that never saw it, float64.
        leverage: (n,) tr(S K), the share of its own fit, in [0, C−1].
    """

    indices: Tensor
    shift: Tensor
    logits: Tensor
    leverage: Tensor
