"""Texts to features: encoders of transformers, sentence encoders among them, and CLIP's text side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from lapsi.data.extractors.base import Extractor
from lapsi.data.extractors.loading import load_frozen, load_pretrained, read_json, require_transformers, revision_of
from lapsi.errors import InputError, first_line
from lapsi.settings.extractor import ExtractorSettings

UNBOUNDED = 10**6  # tokenizers without a length of their own give a huge number


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextExtractor(Extractor):
    """A frozen text model; build it with `text_extractor`.

    Attributes:
        model, revision: what was loaded.
        network, tokenizer: of transformers.
        pooling: "pooler", "cls" or "mean".
        normalize: scale features to length 1.
        max_tokens: longer texts are cut.
        dtype: of the weights.
    """

    model: str
    revision: str
    network: Any
    tokenizer: Any
    pooling: str
    normalize: bool
    max_tokens: int
    dtype: str

    def identity(self) -> dict[str, Any]:
        names = ("model", "revision", "pooling", "normalize", "max_tokens", "dtype")
        return {"kind": "text"} | {name: getattr(self, name) for name in names}

    def prepare(self, sample: str) -> Any:
        tokens = self.tokenizer(sample, truncation=True, max_length=self.max_tokens)
        if len(tokens["input_ids"]) == 0:
            raise ValueError("the tokenizer makes no tokens of it")
        return tokens

    def __call__(self, batch: list[Any]) -> Tensor:
        inputs = self.tokenizer.pad(batch, return_tensors="pt").to(self.network.device)
        with torch.inference_mode():
            pooled = self._pool(self.network(**inputs), inputs["attention_mask"]).float()
        return (torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled).cpu()

    def _pool(self, outputs: Any, mask: Tensor) -> Tensor:
        if self.pooling == "pooler":
            pooled = outputs.get("text_embeds", outputs.get("pooler_output"))
            if pooled is None:
                raise InputError(f"The model {self.model!r} gives no 'pooler' output; use another --pooling.")
            return pooled
        hidden = outputs.last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        weights = mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


def text_extractor(settings: ExtractorSettings, model: str) -> TextExtractor:
    """The frozen text model `model`.

    Raises:
        InputError: when it cannot be loaded.
    """
    transformers = require_transformers()
    config = load_pretrained(transformers.AutoConfig.from_pretrained, model)
    tokenizer = load_pretrained(transformers.AutoTokenizer.from_pretrained, model)
    tokenizer.padding_side = "right"  # the first token stays the first
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    is_clip = config.model_type.startswith("clip")
    architecture = transformers.CLIPTextModelWithProjection if is_clip else transformers.AutoModel
    network, has_pooler = load_frozen(architecture, model, settings.dtype, settings.device)
    if settings.pooling == "pooler" and not has_pooler:
        raise InputError(f"The checkpoint of {model!r} holds no pooler, so its output would be random; use another --pooling.")
    modules: list[dict[str, Any]] = []
    if settings.pooling == "auto" or settings.normalize is None:
        modules = read_json(model, "modules.json") or []
    others = {module.get("type", "").rpartition(".")[2] for module in modules} - {"Transformer", "Pooling", "Normalize"}
    if others and settings.pooling == "auto":
        raise InputError(
            f"{model!r} ends in {', '.join(sorted(others))}, which lapsi does not compute; say --pooling mean or cls for its "
            "features before that."
        )
    pooling = settings.pooling if settings.pooling != "auto" else _own_pooling(model, modules, tokenizer, is_clip)
    normalize = settings.normalize
    if normalize is None:
        normalize = any(module.get("type", "").endswith("Normalize") for module in modules)
    max_tokens = settings.max_tokens or _own_length(model, config, tokenizer)
    positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None) or UNBOUNDED
    if max_tokens > positions:
        raise InputError(f"max_tokens is {max_tokens}, but {model!r} has places for {positions}; give at most that.")
    extractor = TextExtractor(model, revision_of(model), network, tokenizer, pooling, normalize, max_tokens, settings.dtype)
    _try(extractor)
    return extractor


def _try(extractor: TextExtractor) -> None:
    """One text through the model.

    Raises:
        InputError: when it is no encoder.
    """
    try:
        extractor([extractor.prepare("a")])
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise InputError(f"{extractor.model!r} makes no features of texts as encoders do ({first_line(error)}).") from error


def _own_pooling(model: str, modules: list[dict[str, Any]], tokenizer: Any, is_clip: bool) -> str:
    if is_clip:
        return "pooler"
    for module in modules:
        if module.get("type", "").endswith("Pooling"):
            return _said_pooling(model, read_json(model, f"{module['path']}/config.json") or {})
    return "mean" if tokenizer.cls_token is None else "cls"


def _said_pooling(model: str, says: dict[str, Any]) -> str:
    """What the file of a sentence encoder's pooling asks for.

    Raises:
        InputError: when that is neither the first token nor the mean.
    """
    modes = {name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name, on in says.items()
             if name.startswith("pooling_mode_") and on is True}  # fmt: skip
    modes |= {str(says["pooling_mode"])} if says.get("pooling_mode") else set()
    if modes not in ({"cls"}, {"mean"}):
        raise InputError(
            f"{model!r} pools by {' and '.join(sorted(modes)) or 'nothing known'}, which lapsi does not; say --pooling mean or "
            "cls to take the model without its own pooling."
        )
    return modes.pop()


def _own_length(model: str, config: Any, tokenizer: Any) -> int:
    """Tokens that the model was made for."""
    sentence = (read_json(model, "sentence_bert_config.json") or {}).get("max_seq_length")
    text_config = getattr(config, "text_config", config)
    lengths = [sentence, tokenizer.model_max_length, getattr(text_config, "max_position_embeddings", None)]
    known = [int(length) for length in lengths if length is not None and length < UNBOUNDED]
    return min(known, default=512)
