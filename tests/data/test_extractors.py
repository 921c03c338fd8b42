"""Frozen extractors against transformers called by hand, one sample at a time and without padding."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel

import lapsi
from lapsi.data.extractors.embedding import load_extractor
from lapsi.settings.extractor import ExtractorSettings
from tiny_models import save_bert, save_clip, save_vision

ATOL = 2e-6  # float32, other batch shapes
PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8)) for seed in range(5)
]
TEXTS = ["the film is good", "it is so very dull a film so very bad it is", "fine", "good good film", ""]


def features_of(kind, samples, model, **settings):
    extractor = load_extractor(kind, ExtractorSettings(model=model, **settings))
    return extractor([extractor.prepare(sample) for sample in samples]), extractor


def one_by_one(model, pick):
    network, processor = AutoModel.from_pretrained(model).eval(), AutoImageProcessor.from_pretrained(model, backend="pil")
    with torch.no_grad():
        return torch.cat([pick(network(**processor(images=picture, return_tensors="pt"))).flatten(1) for picture in PICTURES])


@pytest.mark.parametrize(
    ("kind", "pooling", "pick"),
    [
        ("resnet", "pooler", lambda out: out.pooler_output),
        ("mobilenet", "pooler", lambda out: out.pooler_output),
        ("vit with pooler", "pooler", lambda out: out.pooler_output),
        ("vit classifier", "cls", lambda out: out.last_hidden_state[:, 0]),
        ("dinov2", "pooler", lambda out: out.pooler_output),
        ("clip", "pooler", None),
    ],
)
def test_images_by_default(tmp_path, kind, pooling, pick):
    model = save_vision(kind, tmp_path / "model")
    features, extractor = features_of("image", PICTURES, model)
    assert extractor.pooling == pooling
    if kind == "clip":
        processor = AutoImageProcessor.from_pretrained(model, backend="pil")
        pixels = torch.cat([processor(images=picture, return_tensors="pt")["pixel_values"] for picture in PICTURES])
        with torch.no_grad():
            outputs = CLIPModel.from_pretrained(model).eval().vision_model(pixel_values=pixels)
            expected = CLIPModel.from_pretrained(model).visual_projection(outputs.pooler_output)
    else:
        expected = one_by_one(model, pick)
    torch.testing.assert_close(features, expected, atol=ATOL, rtol=1e-5)


def test_image_poolings(tmp_path):
    model = save_vision("vit with pooler", tmp_path / "vit")
    for pooling, pick in (
        ("cls", lambda out: out.last_hidden_state[:, 0]),
        ("mean", lambda out: out.last_hidden_state.mean(1)),
    ):
        features, _ = features_of("image", PICTURES, model, pooling=pooling)
        torch.testing.assert_close(features, one_by_one(model, pick), atol=ATOL, rtol=1e-5)
    conv = save_vision("resnet", tmp_path / "resnet")
    features, _ = features_of("image", PICTURES, conv, pooling="mean")
    torch.testing.assert_close(features, one_by_one(conv, lambda out: out.last_hidden_state.mean((2, 3))), atol=ATOL, rtol=1e-5)
    features, _ = features_of("image", PICTURES, conv, normalize=True)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0)
    with pytest.raises(lapsi.InputError, match="no trained 'cls' output"):
        features_of("image", PICTURES, conv, pooling="cls")
    untrained = save_vision("vit classifier", tmp_path / "classifier")
    with pytest.raises(lapsi.InputError, match="no trained 'pooler' output"):
        features_of("image", PICTURES, untrained, pooling="pooler")


def texts_by_hand(model, pick, max_length):
    network, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    with torch.no_grad():
        inputs = [tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt") for text in TEXTS]
        return torch.cat([pick(network(**each)) for each in inputs])


def test_texts(tmp_path):
    model = save_bert(tmp_path / "bert")
    features, extractor = features_of("text", TEXTS, model)
    assert (extractor.pooling, extractor.normalize, extractor.max_tokens) == ("cls", False, 12)
    torch.testing.assert_close(
        features, texts_by_hand(model, lambda out: out.last_hidden_state[:, 0], 12), atol=ATOL, rtol=1e-5
    )
    features, _ = features_of("text", TEXTS, model, pooling="pooler", max_tokens=4)
    torch.testing.assert_close(features, texts_by_hand(model, lambda out: out.pooler_output, 4), atol=ATOL, rtol=1e-5)


def test_sentence_encoders_say_how_they_pool(tmp_path):
    model = save_bert(tmp_path / "encoder", sentence_encoder=True)
    features, extractor = features_of("text", TEXTS, model)
    assert (extractor.pooling, extractor.normalize, extractor.max_tokens) == ("mean", True, 6)
    mean = texts_by_hand(model, lambda out: out.last_hidden_state.mean(1), 6)
    torch.testing.assert_close(features, mean / mean.norm(dim=1, keepdim=True), atol=ATOL, rtol=1e-5)
    plain, _ = features_of("text", TEXTS, model, normalize=False)
    torch.testing.assert_close(plain, mean, atol=ATOL, rtol=1e-5)


def test_clip_texts(tmp_path):
    model = save_clip(tmp_path / "clip")
    features, extractor = features_of("text", TEXTS, model)
    tokenizer, network = AutoTokenizer.from_pretrained(model), CLIPModel.from_pretrained(model).eval()
    with torch.no_grad():
        inputs = [tokenizer(text, truncation=True, max_length=12, return_tensors="pt") for text in TEXTS]
        pooled = [network.text_model(input_ids=each["input_ids"]).pooler_output for each in inputs]
        expected = network.text_projection(torch.cat(pooled))
    assert extractor.pooling == "pooler"
    torch.testing.assert_close(features, expected, atol=ATOL, rtol=1e-5)


def test_identity_tells_models_and_settings_apart(tmp_path):
    model = save_bert(tmp_path / "bert")
    identities = [load_extractor("text", ExtractorSettings(model=model, **each)).identity() for each in ({}, {"max_tokens": 5})]
    weights = save_bert(tmp_path / "encoder", sentence_encoder=True)
    assert identities[0] != identities[1]
    assert identities[0]["revision"] != load_extractor("text", ExtractorSettings(model=weights)).identity()["revision"]
    assert load_extractor("text", ExtractorSettings(model=model)).identity() == identities[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_weights(tmp_path, dtype):
    model = save_bert(tmp_path / "bert")
    exact, _ = features_of("text", TEXTS, model)
    features, extractor = features_of("text", TEXTS, model, dtype=dtype)
    assert features.dtype == torch.float32
    assert extractor.network.dtype == getattr(torch, dtype)
    torch.testing.assert_close(features, exact, atol=0.05, rtol=0.05)


def test_what_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("lapsi.data.extractors.loading.HUB_TIMEOUT", 0.5)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(lapsi.InputError, match=r"not in the local cache, and the hub cannot be reached .* Name a local folder"):
        features_of("text", TEXTS, "no-such/model")
    for kind, named, way in (
        ("text", "model=", "; texts in a table also go without a model, as the tf-idf of their pieces: lapsi.score(frame"),
        ("text", "--text-model", "."),
        ("image", "extractor=", "."),
    ):
        with pytest.raises(lapsi.InputError) as told:
            load_extractor(kind, ExtractorSettings("no-such/model"), named)
        assert f"that is in the local cache, with {named}{way}" in str(told.value)
        assert "\n" not in str(told.value)
    with pytest.raises(lapsi.InputError, match="neither a folder nor a name"):
        features_of("text", TEXTS, "no such model / at all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(lapsi.InputError, match="holds no model for this kind"):
        features_of("image", PICTURES, str(tmp_path / "empty"))
    with pytest.raises(lapsi.InputError, match="holds no model for this kind"):
        features_of("image", PICTURES, save_bert(tmp_path / "bert"))
    with pytest.raises(lapsi.InputError, match="holds no pooler"):
        features_of("text", TEXTS, save_bert(tmp_path / "masked", with_pooler=False), pooling="pooler")
    with pytest.raises(lapsi.InputError, match="device 'nowhere' cannot be used"):
        features_of("text", TEXTS, str(tmp_path / "bert"), device="nowhere")


@pytest.mark.slow
def test_models_in_the_local_cache_of_the_hub(tmp_path):
    """Offline: the cached model loads at once; what its files would say and nobody can tell must be said."""
    snapshot = tmp_path / "hub" / "models--me--bert" / "snapshots" / ("c" * 40)
    snapshot.parent.mkdir(parents=True)
    save_bert(snapshot)
    (tmp_path / "hub" / "models--me--bert" / "refs").mkdir()
    (tmp_path / "hub" / "models--me--bert" / "refs" / "main").write_text("c" * 40)
    code = (
        "import sys, time, lapsi\n"
        "from lapsi.data.extractors.embedding import load_extractor\n"
        "from lapsi.settings.extractor import ExtractorSettings\n"
        "said = ExtractorSettings(model='me/bert', pooling='mean', normalize=False, max_tokens=9)\n"
        "print(load_extractor('text', said).identity()['revision'])\n"
        "try:\n    load_extractor('text', ExtractorSettings(model='me/bert'))\n"
        "except lapsi.InputError as error:\n    print(error)\n"
    )
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    revision, message = result.stdout.strip().splitlines()
    assert revision == "c" * 40
    assert "Retrying" not in result.stderr  # the hub's library asks for half a minute what nobody needs
    assert "its modules.json is not in the local cache" in message
    assert "Say it with --pooling" in message


def test_checkpoints_without_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    model = save_bert(tmp_path / "bert")
    weights = load_file(tmp_path / "bert" / "model.safetensors")
    left = {name: value for name, value in weights.items() if "layer.1" not in name}
    save_file(left, tmp_path / "bert" / "model.safetensors", {"format": "pt"})
    with pytest.raises(lapsi.InputError, match="lacks 16 weights of a BertModel.*would be random"):
        features_of("text", TEXTS, model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(lapsi.InputError, match=message):
        ExtractorSettings(**settings)


@pytest.mark.slow
def test_torchvision_is_never_imported(tmp_path):
    """A torchvision that fails on import, as one that does not match its torch does, changes nothing."""
    model = save_vision("resnet", tmp_path / "model")
    site = tmp_path / "site"
    (site / "torchvision").mkdir(parents=True)
    (site / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (site / "torchvision-0.29.0.dist-info").mkdir()
    (site / "torchvision-0.29.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.29.0\n"
    )
    code = (
        "import sys, numpy, lapsi; "
        f"options = dict(kind='image', model={model!r}, cache={str(tmp_path / 'c')!r}, progress=False); "
        "f = lapsi.embed(numpy.zeros((3, 8, 8, 3), 'uint8'), **options); "
        "print(f.shape, 'torchvision' in sys.modules)"
    )
    path = f"{site}:{':'.join(sys.path)}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
    assert result.stdout.strip() == "(3, 8) False", result.stderr
    shutil.rmtree(site)
