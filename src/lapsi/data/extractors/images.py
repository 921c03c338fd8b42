"""Images to features: any `AutoModel` of transformers with an image processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from PIL import Image
from torch import Tensor

from lapsi.data.extractors.base import Extractor
from lapsi.data.extractors.loading import load_frozen, load_pretrained, require_transformers, revision_of
from lapsi.errors import InputError
from lapsi.settings.extractor import ExtractorSettings


@final
@dataclass(frozen=True, slots=True, eq=False)
class ImageExtractor(Extractor):
    """A frozen vision model; build it with `image_extractor`.

    Attributes:
        model, revision: what was loaded.
        network, processor: of transformers.
        pooling: "pooler", "cls" or "mean".
        settings: as given.
    """

    model: str
    revision: str
    network: Any
    processor: Any
    pooling: str
    settings: ExtractorSettings

    def identity(self) -> dict[str, Any]:
        return {
            "kind": "image",
            "model": self.model,
            "revision": self.revision,
            "pooling": self.pooling,
            "normalize": bool(self.settings.normalize),
            "dtype": self.settings.dtype,
        }

    def prepare(self, sample: Image.Image) -> Tensor:
        return self.processor(images=sample, return_tensors="pt")["pixel_values"][0]

    def __call__(self, batch: list[Tensor]) -> Tensor:
        if len({pixels.shape for pixels in batch}) > 1:
            raise InputError(f"The processor of {self.model!r} leaves images of several sizes; name another model.")
        pixels = torch.stack(batch).to(self.network.device, self.network.dtype)
        with torch.inference_mode():
            pooled = _pool(self.network(pixel_values=pixels), self.pooling).float()
        return (torch.nn.functional.normalize(pooled, dim=1) if self.settings.normalize else pooled).cpu()


def image_extractor(settings: ExtractorSettings, model: str) -> ImageExtractor:
    """The frozen vision model `model`.

    Raises:
        InputError: when it cannot be loaded, or gives nothing of the kind that `pooling` asks for.
    """
    transformers = require_transformers()
    config = load_pretrained(transformers.AutoConfig.from_pretrained, model)
    processor = load_pretrained(transformers.AutoImageProcessor.from_pretrained, model, backend="pil")
    architecture = (
        transformers.CLIPVisionModelWithProjection if config.model_type.startswith("clip") else transformers.AutoModel
    )
    network, has_pooler = load_frozen(architecture, model, settings.dtype, settings.device)
    extractor = ImageExtractor(model, revision_of(model), network, processor, settings.pooling, settings)
    outputs = _outputs_of_grey(extractor)
    if settings.pooling == "auto":
        extractor = replace(extractor, pooling=_choose(outputs, has_pooler))
    if _pool(outputs, extractor.pooling) is None or (extractor.pooling == "pooler" and not has_pooler):
        raise InputError(f"The model {model!r} gives no trained {extractor.pooling!r} output; use another --pooling.")
    return extractor


def _outputs_of_grey(extractor: ImageExtractor) -> Any:
    """What the network gives for a grey image.

    Raises:
        InputError: when it is no vision model.
    """
    try:
        pixels = extractor.prepare(Image.new("RGB", (64, 64), (128, 128, 128)))[None]
        with torch.inference_mode():
            return extractor.network(pixel_values=pixels.to(extractor.network.device, extractor.network.dtype))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{extractor.model!r} takes no images as a vision model does ({error}); name another model."
        ) from error


def _choose(outputs: Any, has_pooler: bool) -> str:
    if has_pooler and _pool(outputs, "pooler") is not None:
        return "pooler"
    return "cls" if outputs.last_hidden_state.ndim == 3 else "mean"


def _pool(outputs: Any, pooling: str) -> Any:
    """(n, d) of the outputs of a network, or None where they have nothing of the kind."""
    if pooling == "pooler":
        pooled = outputs.get("image_embeds", outputs.get("pooler_output"))
        return None if pooled is None else pooled.flatten(1)
    hidden = outputs.get("last_hidden_state")
    if hidden is None:
        return None
    if pooling == "cls":
        return hidden[:, 0] if hidden.ndim == 3 else None
    return hidden.mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))
