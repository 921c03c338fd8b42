"""What an extractor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from lapsi.data.samples import IMAGE, TEXT

DEFAULT_MODELS = {IMAGE: "microsoft/resnet-18", TEXT: "bert-base-uncased"}  # those of the paper (section 4.1)


class Extractor(ABC):
    """A frozen model."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that the features depend on beside the sample, plain JSON values: model, revision, settings."""

    @abstractmethod
    def prepare(self, sample: Any) -> Any:
        """Input of the model from one decoded sample; called in worker threads."""

    @abstractmethod
    def __call__(self, batch: list[Any]) -> Tensor:
        """Features (n, d) float32 on the CPU of n prepared samples."""
