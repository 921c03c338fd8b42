"""A quantity of the model with all samples, and how it differs in each of B models without one (docs/math.md, Retraining)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pair:
    """A vector and its changes. Every rule of training maps pairs to pairs, changes in difference form.

    Attributes:
        value: (P,) float64, of the model with all samples.
        change: (B, P), value of model b minus `value`; B = 0 trains the one model alone.
    """

    value: Tensor
    change: Tensor

    @property
    def base(self) -> Tensor:
        """`value` in the dtype of the changes."""
        return self.value.to(self.change.dtype)

    def zeros_like(self) -> Pair:
        """Zeros of the same shapes."""
        return Pair(self.value.new_zeros(self.value.shape), self.change.new_zeros(self.change.shape))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models after some epochs; the tensors go on changing when training goes on.

    Attributes:
        epoch: epochs done.
        params: (P,) float64, of the model with all samples.
        shift: (B, P), params of each model without its sample minus `params`.
    """

    epoch: int
    params: Tensor
    shift: Tensor
