"""At full scale the official files are read, and go through the extractors of the paper (small random ones stand for them)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from documents import one_thread
from experiments.base import Setup
from experiments.data import official, pictures, reviews, text_features
from lapsi.data.extractors.base import DEFAULT_MODELS
from lapsi.data.readers.catalog import NAMED
from lapsi.data.readers.named_folders import IMAGENETTE

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = [f"data_batch_{number}" for number in range(1, 6)]
SIZES = {
    "cifar10": {"train": (10,), "test": (2,)},
    "imagenette": {"train": (20,), "val": (10,)},
    "imdb": {"train": (4,), "test": (4,)},
}


@pytest.fixture
def setup(tmp_path, monkeypatch, models):
    """A folder with small data sets in the official formats."""
    for name, splits in SIZES.items():
        monkeypatch.setitem(NAMED, name, replace(NAMED[name], splits=splits))
    for kind, model in models.items():
        monkeypatch.setitem(DEFAULT_MODELS, kind, model)
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))
    rng, folder = np.random.default_rng(0), tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    codes = np.arange(12, dtype=np.uint8) % 10
    for place, name in enumerate([*PARTS, "test_batch"]):
        rows = codes[2 * place : 2 * place + 2]
        (folder / f"{name}.bin").write_bytes(np.column_stack([rows, rng.integers(0, 256, (2, 3072), dtype=np.uint8)]).tobytes())
    labels = {
        name: np.arange(10) for name in ("clean_label", "worse_label", *(f"random_label{number}" for number in (1, 2, 3)))
    }
    torch.save(labels | {"aggre_label": (np.arange(10) + (np.arange(10) == 4)) % 10}, tmp_path / "CIFAR-10_human.pt")
    for split, n in (("train", 2), ("val", 1)):
        for wnid in IMAGENETTE:
            for image in range(n):
                path = tmp_path / "imagenette2-160" / split / wnid / f"{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    for split in ("train", "test"):
        for label in ("neg", "pos"):
            for number in range(2):
                path = tmp_path / "aclImdb" / split / label / f"{number}_1.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("good film" if label == "pos" else "bad film")
    with one_thread():
        yield Setup(tmp_path, "full", tmp_path / "work", lambda line: None)


@pytest.mark.slow
def test_cifar10_and_its_human_labels(setup):
    data = official(setup, "cifar10")
    assert data.classes == tuple(NAMES)
    assert (data.X.shape[0], data.X_test.shape[0], data.stand_in) == (10, 2, False)
    np.testing.assert_array_equal(data.y_test, [0, 1])
    differs = data.human != data.y
    assert data.y[differs].tolist() == [4]
    assert data.human[differs].tolist() == [5]
    shown = pictures(setup)
    assert (shown.pixels.shape, shown.pixels_test.shape) == ((10, 32, 32, 3), (2, 32, 32, 3))
    assert "ResNet-18" in shown.what
    order = np.argsort(shown.y)
    np.testing.assert_allclose(shown.X[order], data.X[np.argsort(data.y)], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_imagenette(setup):
    data = official(setup, "imagenette")
    assert sorted(data.classes) == sorted(IMAGENETTE.values())
    assert (data.X.shape[0], data.X_test.shape[0], data.human) == (20, 10, None)
    assert np.bincount(data.y).tolist() == [2] * 10
    assert np.bincount(data.y_test).tolist() == [1] * 10


@pytest.mark.slow
def test_imdb(setup):
    texts, labels, what = reviews(setup, 25_000)
    assert [text.startswith("good") for text in texts] == labels.astype(bool).tolist()
    assert what == "4 IMDb reviews"
    X, by = text_features(setup, texts)
    assert (X.shape[0], by) == (4, "BERT")
