"""What an extractor is, and which one the user asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lapsi.data.samples import IMAGE, TEXT
from lapsi.settings.validation import require_choice, require_integer

POOLINGS = ("auto", "pooler", "cls", "mean")
FEATURE_DTYPES = ("float32", "bfloat16", "float16")
DEFAULT_MODELS = {IMAGE: "microsoft/resnet-18", TEXT: "bert-base-uncased"}  # those of the paper (section 4.1)


@dataclass(frozen=True, slots=True)
class ExtractorSettings:
    """Which frozen model makes features, and how.

    Attributes:
        model: name on the Hugging Face hub, or a local folder; None: the paper's, ResNet-18 for images, BERT for texts.
        pooling: one vector a sample from what the model gives: `"pooler"` (its own pooled output or projection), `"cls"` (first
            token), `"mean"` (over tokens or positions). `"auto"`: what a sentence encoder's own files say; else the pooler of
            image models whose checkpoint holds one, the first token of other models with a class token, else the mean.
        normalize: scale every feature vector to length 1; None does as a sentence encoder's files say, else not.
        max_tokens: longer texts are cut; None takes what the model was made for.
        batch_size: samples a forward pass.
        device: torch device; None means the CPU.
        dtype: of the model's weights; features are float32 always.
    """

    model: str | None = None
    pooling: str = "auto"
    normalize: bool | None = None
    max_tokens: int | None = None
    batch_size: int = 32
    device: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_choice("pooling", self.pooling, POOLINGS)
        require_choice("dtype", self.dtype, FEATURE_DTYPES)
        require_integer("batch_size", self.batch_size, 1)
        if self.max_tokens is not None:
            require_integer("max_tokens", self.max_tokens, 1)


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
