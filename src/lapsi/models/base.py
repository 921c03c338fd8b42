"""What every model offers: its parameters, where training starts, and its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Model(ABC):
    """Maps inputs to K outputs; knows no data and no loss."""

    @property
    @abstractmethod
    def n_params(self) -> int:
        """P."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """K."""

    @abstractmethod
    def initial(self, seed: int) -> Tensor:
        """Params (P,) float64 where training starts."""

    @abstractmethod
    def outputs(self, params: Tensor, inputs: Tensor) -> Tensor:
        """(…, n, K) of inputs (…, n, D) under params (…, P)."""
