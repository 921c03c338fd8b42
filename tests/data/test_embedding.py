"""From samples to features through the cache: nothing is embedded twice, nothing old is met, nothing is lost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import lapsi
from lapsi.data.extractors import embedding
from lapsi.data.extractors.cache import FeatureCache, default_cache
from lapsi.data.extractors.embedding import embed_content, trial
from lapsi.data.extractors.texts import TextExtractor
from lapsi.data.samples import ImageFiles, Texts
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings

N = 23
QUIET = Stages(False)


@pytest.fixture
def texts():
    words = ["a", "bad", "good", "film", "is", "it", "so", "very", "dull", "fine"]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(N)]


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{row}.png" for row in range(N)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_ROWS", 5)


@pytest.fixture
def embedded(monkeypatch):
    """How many samples each forward pass of the text model saw."""
    sizes = []
    forward = TextExtractor.__call__

    def counted(self, batch):
        sizes.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(TextExtractor, "__call__", counted)
    monkeypatch.setattr("lapsi.data.extractors.texts._try", lambda extractor: None)
    return sizes


def run(texts, models, cache, **options):
    return embed_content(Texts(texts), ExtractorSettings(model=models["text"], batch_size=4), cache, QUIET, **options)


@pytest.mark.slow
def test_shards_batches_and_cache_change_nothing(texts, models, tmp_path, small_shards, embedded):
    whole = lapsi.embed(texts, kind="text", model=models["text"], batch_size=N, cache=tmp_path / "a", progress=False)
    one_by_one = np.concatenate(
        [lapsi.embed([text], kind="text", model=models["text"], cache=tmp_path / "b", progress=False) for text in texts]
    )
    np.testing.assert_allclose(whole, one_by_one, rtol=1e-5, atol=2e-6)
    embedded.clear()
    again = run(texts, models, tmp_path / "a")
    assert embedded == []
    assert again.record["n_from_cache"] == N
    np.testing.assert_array_equal(again.features, whole)


def test_no_model_is_loaded_where_the_cache_has_all(texts, models, tmp_path, small_shards, monkeypatch):
    models = {"text": str(shutil.copytree(models["text"], tmp_path / "bert"))}
    load, loaded = embedding.load_extractor, []
    monkeypatch.setattr(embedding, "load_extractor", lambda *asked: loaded.append(1) or load(*asked))
    whole = run(texts, models, tmp_path)
    assert loaded == [1]
    again = run(texts, models, tmp_path)
    assert loaded == [1]
    np.testing.assert_array_equal(again.features, whole.features)
    assert again.digest == whole.digest
    assert again.record == whole.record | {"n_from_cache": N}
    other = run([*texts[:-1], "so very dull"], models, tmp_path)
    assert loaded == [1, 1]
    assert other.record["n_from_cache"] == N - 3
    embed_content(Texts(texts), ExtractorSettings(model=models["text"], max_tokens=3), tmp_path, QUIET)
    assert loaded == [1] * 3  # other settings, another extractor
    (Path(models["text"]) / "notes.txt").write_text("another revision")
    run(texts, models, tmp_path)
    assert loaded == [1] * 4


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"kind": "text"}'])
def test_a_damaged_memory_of_models_counts_as_none(texts, models, tmp_path, damage):
    expected = run(texts, models, tmp_path)
    (known,) = (tmp_path / "extractors").glob("*.json")
    known.write_text(damage)
    again = run(texts, models, tmp_path)
    np.testing.assert_array_equal(again.features, expected.features)
    assert again.record["n_from_cache"] == N
    assert json.loads(known.read_text())["model"] == models["text"]


def test_a_memory_that_is_wrong_is_told_and_mended(texts, models, tmp_path):
    expected = run(texts, models, tmp_path)
    (known,) = (tmp_path / "extractors").glob("*.json")
    known.write_text(json.dumps(json.loads(known.read_text()) | {"pooling": "mean"}))
    with pytest.raises(lapsi.InputError, match="has changed meanwhile; run it again"):
        run(texts, models, tmp_path)
    np.testing.assert_array_equal(run(texts, models, tmp_path).features, expected.features)


def test_goes_on_after_a_kill(texts, models, tmp_path, small_shards, embedded, monkeypatch):
    expected = run(texts, models, tmp_path / "a").features
    keep, n_kept = FeatureCache.keep, []

    def killed(self, *arguments):
        if len(n_kept) == 3:
            raise KeyboardInterrupt
        keep(self, *arguments)
        n_kept.append(1)

    monkeypatch.setattr(FeatureCache, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        run(texts, models, tmp_path / "b")
    monkeypatch.setattr(FeatureCache, "keep", keep)
    embedded.clear()
    result = run(texts, models, tmp_path / "b")
    assert sum(embedded) == N - 15
    assert result.record["n_from_cache"] == 15
    np.testing.assert_array_equal(result.features, expected)
    assert list((tmp_path / "b").rglob("*.tmp")) == []


def test_a_changed_sample_is_embedded_anew(texts, models, tmp_path, small_shards, embedded):
    run(texts, models, tmp_path)
    changed = [*texts[:7], "so very dull", *texts[8:]]
    embedded.clear()
    features = run(changed, models, tmp_path).features
    assert sum(embedded) == 5
    np.testing.assert_allclose(features, run(changed, models, tmp_path / "fresh").features, rtol=1e-5, atol=2e-6)


def test_other_settings_do_not_meet(texts, models, tmp_path, embedded):
    run(texts, models, tmp_path)
    embedded.clear()
    lapsi.embed(texts, kind="text", model=models["text"], pooling="mean", cache=tmp_path, progress=False)
    assert sum(embedded) == N


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40])
def test_damaged_shards_are_made_again(texts, models, tmp_path, small_shards, damage):
    expected = run(texts, models, tmp_path).features
    for file in sorted(tmp_path.rglob("*.safetensors"))[:2]:
        file.write_bytes(file.read_bytes()[:30] if damage == b"" else damage)
    result = run(texts, models, tmp_path)
    assert result.record["n_from_cache"] < N
    np.testing.assert_array_equal(result.features, expected)


@pytest.mark.slow
def test_a_changed_byte_of_a_shard_is_never_met(texts, models, tmp_path):
    result = run(texts, models, tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    whole = file.read_bytes()
    cache, samples = FeatureCache(file.parent), [text.encode() for text in texts]
    assert cache.find(samples) is not None
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        shard = cache.find(samples)
        assert shard is None or torch.equal(shard.features, torch.from_numpy(result.features)), position
    file.write_bytes(whole[:-3] + b"\x00\xc0\x7f")  # NaN
    again = run(texts, models, tmp_path)
    assert again.record["n_from_cache"] == 0
    np.testing.assert_array_equal(again.features, result.features)
    assert cache.find(samples) is not None


def test_shards_of_earlier_versions_are_taken(texts, models, tmp_path, embedded):
    result = run(texts, models, tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    save_file(load_file(file), file, {"bad": "{}"})
    embedded.clear()
    again = run(texts, models, tmp_path)
    assert embedded == []
    np.testing.assert_array_equal(again.features, result.features)


def test_large_features_stay_on_disk(texts, models, tmp_path, small_shards, monkeypatch):
    expected = run(texts, models, tmp_path).features
    monkeypatch.setattr(embedding, "MAPPED_SHARE", 0.0)
    result = run(texts, models, tmp_path)
    np.testing.assert_array_equal(result.features, expected)
    assert list(tmp_path.rglob("*.tmp")) == []  # the file has no name any more
    assert lapsi.score(result.features, np.arange(N) % 2, verify=0, progress=False).lsi.min() > 0


def test_bad_images_are_named(pictures, models, tmp_path, small_shards):
    pictures[3].write_bytes(b"no image")
    pictures[11].write_bytes(pictures[11].read_bytes()[:60])
    content, settings = ImageFiles(pictures), ExtractorSettings(model=models["image"])
    some = r"At least 1 of the 23 samples cannot be read: .*3\.png \(cannot identify image.*--skip-bad"
    with pytest.raises(lapsi.InputError, match=some):
        embed_content(content, settings, tmp_path / "c", QUIET)
    for row in (2, 17, 22):
        pictures[row].rename(tmp_path / f"{row} away")
    missing = r"^3 of the 23 samples cannot be read: .*2\.png \(.*No such file.*; .*17\.png \(.*; .*22\.png \("
    with pytest.raises(lapsi.InputError, match=missing):
        embed_content(content, settings, tmp_path / "c", QUIET)
    for row in (2, 22):
        (tmp_path / f"{row} away").rename(pictures[row])
    result = embed_content(content, settings, tmp_path / "c", QUIET, skip_bad=True)
    assert list(result.left_out) == [3, 11, 17]
    assert "No such file" in result.left_out[17]
    np.testing.assert_array_equal(result.kept, np.delete(np.arange(N), [3, 11, 17]))
    good = [pictures[row] for row in result.kept]
    expected = lapsi.embed(good, kind="image", model=models["image"], cache=tmp_path / "d", progress=False)
    np.testing.assert_allclose(result.features, expected, rtol=1e-5, atol=2e-6)
    again = embed_content(content, settings, tmp_path / "c", QUIET, skip_bad=True)
    assert again.left_out == result.left_out
    assert again.record["n_from_cache"] == N - 5 - 2  # a file that is missing today may be there tomorrow
    shutil.copy(pictures[0], pictures[17])
    assert list(embed_content(content, settings, tmp_path / "c", QUIET, skip_bad=True).left_out) == [3, 11]


def test_nothing_to_embed(pictures, models, tmp_path):
    for picture in pictures:
        picture.write_bytes(b"no image")
    settings = ExtractorSettings(model=models["image"])
    for work in (
        lambda: embed_content(ImageFiles(pictures), settings, tmp_path / "c", QUIET, skip_bad=True),
        lambda: trial(ImageFiles(pictures), settings),
    ):
        with pytest.raises(lapsi.InputError, match=r"23 of the 23 samples cannot be read: .* and 18 more"):
            work()
    with pytest.raises(lapsi.InputError, match="no image to embed"):
        embed_content(ImageFiles([]), settings, tmp_path / "c", QUIET)


def test_features_that_are_not_finite_are_refused(texts, models, tmp_path, monkeypatch):
    monkeypatch.setattr(TextExtractor, "__call__", lambda self, batch: torch.full((len(batch), 2), torch.nan))
    with pytest.raises(lapsi.InputError, match="NaN or infinite features in float32"):
        run(texts, models, tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_arrays_paths_and_texts(pictures, models, tmp_path):
    arrays = np.stack([np.asarray(Image.open(picture)) for picture in pictures])
    options = {"kind": "image", "model": models["image"], "cache": tmp_path / "c", "progress": False}
    np.testing.assert_array_equal(lapsi.embed(arrays, **options), lapsi.embed(pictures, **options))
    grey = lapsi.embed(arrays[..., 0], **options)
    np.testing.assert_array_equal(grey, lapsi.embed(np.repeat(arrays[..., :1], 3, 3), **options))
    for values, kind, message in (
        (arrays.astype(float), "image", "dtype float64; expected uint8"),
        (["a", 3], "text", "row 1 holds 3 where a text is expected"),
        (["a"], "sound", "kind is 'sound'"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            lapsi.embed(values, **(options | {"kind": kind}))


def test_trial_tells_the_shape(texts, models):
    features, seconds, model = trial(Texts(texts), ExtractorSettings(model=models["text"], batch_size=6))
    assert features.shape == (6, 8)
    assert seconds > 0
    assert model == models["text"]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    monkeypatch.delenv("LAPSI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "lapsi"
