"""Small random models of transformers, saved as the hub would hold them."""

import json

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    MobileNetV2Config,
    MobileNetV2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "bad",
    "good",
    "film",
    "is",
    "it",
    "so",
    "the",
    "very",
    "dull",
    "fine",
]
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
VIT = {**SIZES, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16}
BERT = {**SIZES, "num_hidden_layers": 2, "vocab_size": len(WORDS)}


def _save_vision(model, folder, processor=ViTImageProcessorPil, **size):
    processor(size=size or {"height": 32, "width": 32}, do_normalize=True).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def save_vision(kind, folder):
    """A vision model of a kind; its processor scales images to 32 × 32."""
    torch.manual_seed(0)
    if kind == "resnet":
        return _save_vision(
            ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")), folder
        )
    if kind == "mobilenet":
        return _save_vision(MobileNetV2Model(MobileNetV2Config(image_size=32, depth_multiplier=0.35)), folder)
    if kind == "vit with pooler":
        return _save_vision(ViTModel(ViTConfig(**VIT)), folder)
    if kind == "vit classifier":
        return _save_vision(ViTForImageClassification(ViTConfig(**VIT)), folder)
    if kind == "dinov2":
        config = {name: value for name, value in VIT.items() if name != "intermediate_size"}
        return _save_vision(Dinov2Model(Dinov2Config(**config)), folder)
    assert kind == "clip"
    return save_clip(folder)


def save_clip(folder):
    """Both sides of CLIP, with the tokenizer of the texts."""
    torch.manual_seed(0)
    side = {**SIZES, "num_hidden_layers": 1, "projection_dim": 6}
    text = {**side, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3, "pad_token_id": 0}
    config = CLIPConfig(text_config=text, vision_config={**side, "image_size": 32, "patch_size": 16}, projection_dim=6)
    save_tokenizer(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    CLIPModel(config).save_pretrained(folder)
    return str(folder)


def save_tokenizer(folder, max_length=12):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=max_length).save_pretrained(folder)


def save_bert(folder, sentence_encoder=False, with_pooler=True):
    """A BERT; as a sentence encoder with mean pooling, vectors of length 1 and at most 6 tokens."""
    torch.manual_seed(0)
    save_tokenizer(folder)
    (BertModel(BertConfig(**BERT)) if with_pooler else BertForMaskedLM(BertConfig(**BERT))).save_pretrained(folder)
    if sentence_encoder:
        names = {"1_Pooling": "Pooling", "2_Normalize": "Normalize"}
        modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in names.items()]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    return str(folder)
