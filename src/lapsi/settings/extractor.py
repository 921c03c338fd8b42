"""Which frozen pretrained model makes features of images and texts."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.errors import InputError
from lapsi.settings.execution import DEVICE_HELP
from lapsi.settings.option import Choice, Flag, Integer, Name, check_options, option

POOLINGS = ("auto", "pooler", "cls", "mean")
FEATURE_DTYPES = ("float32", "bfloat16", "float16")
RAW = "Images and texts"


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

    model: str | None = option(
        None,
        Name(),
        "Frozen extractor: folder or name on the hub. Default: microsoft/resnet-18, bert-base-uncased.",
        panel=RAW,
    )
    pooling: str = option("auto", Choice(POOLINGS), "One vector of all tokens or positions.", panel=RAW)
    normalize: bool | None = option(
        None, Flag(optional=True), "Scale features to length 1. Default: as the model says.", panel=RAW
    )
    max_tokens: int | None = option(None, Integer(1, optional=True), "Cut longer texts. Default: as the model says.", panel=RAW)
    batch_size: int = option(32, Integer(1), "Samples a forward pass of the extractor.", panel=RAW, flag="embed-batch-size")
    device: str | None = option(None, Name(), DEVICE_HELP)
    dtype: str = option(
        "float32",
        Choice(FEATURE_DTYPES),
        "Of the extractor's weights; features are float32.",
        panel=RAW,
        flag="embed-dtype",
    )

    def __post_init__(self) -> None:
        if callable(self.model):
            raise InputError(
                f"model is a {type(self.model).__name__}; expected a folder or a name on the hub. Make features by a model of "
                "your own and pass them to lapsi.score; lapsi.score_network scores the training data of a network."
            )
        check_options(self)
