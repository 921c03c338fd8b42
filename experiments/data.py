"""The data of an experiment: official data sets at full scale; at small scale what the folder of the data holds, or digits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

import lapsi
from experiments.base import FULL, TINY, Setup
from lapsi.data.dataset import Dataset
from lapsi.data.opening import open_data
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source
from lapsi.data.samples import Samples
from lapsi.data.spec import DataSpec
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings

FEATURES, IMAGES, REVIEWS = "cifar10_squeezenet.npz", "cifar10_images_2000.zip", "imdb_5000.parquet"
IMAGE_MODELS, TEXT_MODELS = ("resnet-18", "mobilenet_v2"), ("bert-base-uncased", "all-MiniLM-L6-v2")
TINY_DIGITS = 150
DIRECTIONS, MOST_WORDS = 128, 20_000
GOOD, BAD = ["good", "fine", "moving", "clever"], ["bad", "dull", "weak", "silly"]
PLAIN = ["film", "plot", "actor", "scene", "the", "it", "is", "was", "music", "end"]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Labelled features for training, and others for testing.

    Attributes:
        what: said of them in the record.
        X, y: (N, d) float32 and (N,) positions in `classes`.
        X_test, y_test: unseen ones.
        classes: (C,) names.
        human: (N,) labels that people gave, or None.
        stand_in: whether it is another data set than the paper's.
    """

    what: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    human: np.ndarray | None = None
    stand_in: bool = False

    def of_classes(self, names: Sequence[str], each: int | None = None) -> Data:
        """The samples of some classes, the first `each` of every one; labels count in the order of the names."""
        codes = [self.classes.index(name) for name in names]
        rows = np.sort(np.concatenate([np.flatnonzero(self.y == code)[:each] for code in codes]))
        test = np.flatnonzero(np.isin(self.y_test, codes))
        place = {code: position for position, code in enumerate(codes)}
        return replace(
            self,
            what=f"{self.what}; classes {', '.join(names)}",
            X=self.X[rows],
            y=np.array([place[code] for code in self.y[rows]]),
            X_test=self.X_test[test],
            y_test=np.array([place[code] for code in self.y_test[test]]),
            classes=tuple(names),
            human=None,
        )

    def take(self, rows: np.ndarray) -> Data:
        """Some of the training samples (n,)."""
        return replace(self, X=self.X[rows], y=self.y[rows], human=None if self.human is None else self.human[rows])


def cifar10(setup: Setup, n: int | None = None) -> Data:
    """CIFAR-10: `n` of the training samples, all by default, in a random order; digits where it is not at hand.

    Raises:
        InputError: at full scale, when its official files are missing.
    """
    if setup.scale == FULL:
        return _first(official(setup, "cifar10"), n)
    path = None if setup.data is None or setup.scale == TINY else setup.data / FEATURES
    if path is None or not path.is_file():
        return _first(digits(setup), n)
    with np.load(path) as held:
        scale = held["feature_scale"]
        train = np.random.default_rng(0).permutation(len(held["labels_train"]))[:n]
        test = np.random.default_rng(1).permutation(len(held["labels_test"]))[:n]
        return Data(
            f"CIFAR-10, {len(train):,} training samples, 512 SqueezeNet features",
            (held["features_train"][train] * scale).astype(np.float32),
            held["labels_train"][train].astype(np.int64),
            (held["features_test"][test] * scale).astype(np.float32),
            held["labels_test"][test].astype(np.int64),
            tuple(held["class_names"].tolist()),
            held["labels_aggre"][train].astype(np.int64),
        )


def digits(setup: Setup) -> Data:
    """Handwritten digits, which come with scikit-learn: three quarters for training."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    if setup.scale == TINY:
        order = order[: TINY_DIGITS * 4 // 3]
    train, test = np.split(order, [len(order) * 3 // 4])
    X = (X / 16).astype(np.float32)
    names = tuple(map(str, range(10)))
    what = f"handwritten digits (scikit-learn), {len(train):,} training samples, 64 pixels"
    return Data(what, X[train], y[train], X[test], y[test], names, stand_in=True)


def official(setup: Setup, name: str) -> Data:
    """A data set of the paper from its official files, through the extractor of the paper, in a random order.

    Raises:
        InputError: when they are missing, saying what to put where.
    """
    test = "val" if name.startswith("image") else "test"
    train_set, test_set = (_embedded(setup, name, split) for split in ("train", test))
    what = f"{name}, {train_set.n_samples:,} training samples, official files"
    human = _human_labels(setup, train_set.classes) if name == "cifar10" else None
    codes = _codes(test_set.classes[test_set.labels], train_set.classes)
    order = np.random.default_rng(0).permutation(train_set.n_samples)
    X, X_test = (np.asarray(each.features).astype(np.float32) for each in (train_set, test_set))
    data = Data(what, X, train_set.labels, X_test, codes, tuple(map(str, train_set.classes)), human)
    return data.take(order)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Images of 32 × 32 pixels, and features of those for training.

    Attributes:
        what: said of them in the record.
        pixels, y: (N, 32, 32, 3) uint8 and (N,).
        X: (N, d) features.
        pixels_test, y_test: unseen ones.
    """

    what: str
    pixels: np.ndarray
    y: np.ndarray
    X: np.ndarray
    pixels_test: np.ndarray
    y_test: np.ndarray


def pictures(setup: Setup, n: int | None = None) -> Pictures:
    """CIFAR-10 in a random order; at small scale `n` images of those at hand, or of digits, a quarter of them for testing.

    Raises:
        InputError: at full scale, when the official files are missing.
    """
    path = None if setup.data is None or setup.scale == TINY else setup.data / IMAGES
    if setup.scale == FULL:
        (pixels, y), (pixels_test, y_test) = (_decoded(setup, "cifar10", split) for split in ("train", "test"))
        order = np.random.default_rng(0).permutation(len(y))[:n]
        pixels, y = pixels[order], y[order]
        X, by = features_of(setup, pixels)
        return Pictures(f"CIFAR-10, official files, features: {by}", pixels, y, X, pixels_test, y_test)
    if path is None or not path.is_file():
        held = load_digits()
        grey = (held.images * 15.9).astype(np.uint8)
        pixels, y = np.repeat(np.kron(grey, np.ones((1, 4, 4), np.uint8))[..., None], 3, -1), held.target
        what, table = "handwritten digits (scikit-learn), pixels repeated to 32 × 32", None
    else:
        with zipfile.ZipFile(path) as archive:
            table = pd.read_csv(io.BytesIO(archive.read("labels.csv")))
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in table["path"]])
        y, what = np.unique(table["label"], return_inverse=True)[1], "images of CIFAR-10"
    train, test = np.split(order := np.random.default_rng(0).permutation(len(y))[:n], [len(y[:n]) * 3 // 4])
    features = None if path is None else path.with_name(FEATURES)
    if table is not None and features is not None and features.is_file():
        with np.load(features) as stored:
            X, by = stored["features_train"][table["original_index"]] * stored["feature_scale"], "SqueezeNet"
        X = X[train].astype(np.float32)
    else:
        X, by = features_of(setup, pixels[train])
    return Pictures(f"{len(order):,} {what}, features: {by}", pixels[train], y[train], X, pixels[test], y[test])


def features_of(setup: Setup, pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Features (N, d) of images by a frozen network, the paper's at full scale, and its name; pixels where none is at hand."""
    model = model_at_hand(setup, IMAGE_MODELS)
    if model is None and setup.scale != FULL:
        return pixels[:, ::4, ::4].reshape(len(pixels), -1).astype(np.float32) / 255, "every fourth pixel"
    found = lapsi.embed(pixels, kind="image", model=model, progress=False)
    return np.asarray(found, np.float32), "ResNet-18" if model is None else Path(model).name


def model_at_hand(setup: Setup, names: Sequence[str]) -> str | None:
    """The first of some frozen models that lies in the folder `models` of the data; None: the paper's, on the hub."""
    folder = None if setup.data is None or setup.scale == TINY else setup.data / "models"
    found = [folder / name for name in names if folder is not None and (folder / name / "config.json").is_file()]
    return str(found[0]) if found else None


def reviews(setup: Setup, n: int) -> tuple[list[str], np.ndarray, str]:
    """Texts, labels (N,) 0 and 1, and what they are: IMDb reviews, made-up ones where none are at hand.

    Raises:
        InputError: at full scale, when the official files are missing.
    """
    path = None if setup.data is None or setup.scale == TINY else setup.data / REVIEWS
    if setup.scale == FULL:
        source = open_source("imdb", Columns(), "train", setup.data)
        assert isinstance(source, Samples)
        texts, labels, what = source.columns["text"].tolist(), np.unique(source.labels, return_inverse=True)[1], "IMDb reviews"
    elif path is None or not path.is_file():
        rng = np.random.default_rng(0)
        labels = np.arange(n) % 2
        words = np.array([GOOD + PLAIN, BAD + PLAIN])
        texts, what = [" ".join(rng.choice(words[label], 25)) for label in labels], "made-up reviews"
    else:
        table = pd.read_parquet(path)
        texts, labels, what = table["text"].tolist(), table["label"].to_numpy(np.int64), "IMDb reviews"
    order = np.random.default_rng(0).permutation(len(labels))[:n]
    return [texts[row] for row in order], labels[order], f"{len(order):,} {what}"


def text_features(setup: Setup, texts: list[str]) -> tuple[np.ndarray, str]:
    """Features (N, d) of texts by a frozen encoder, and its name: the paper's at full scale.

    Where none is at hand: the largest directions of their tf-idf table, found without labels.
    """
    model = model_at_hand(setup, TEXT_MODELS)
    if model is None and setup.scale != FULL:
        table = TfidfVectorizer(max_features=MOST_WORDS, sublinear_tf=True).fit_transform(texts)
        n = min(DIRECTIONS, table.shape[1] - 1)
        return TruncatedSVD(n, random_state=0).fit_transform(table).astype(np.float32), f"{n} directions of their tf-idf table"
    found = lapsi.embed(texts, kind="text", model=model, progress=False)
    return np.asarray(found, np.float32), "BERT" if model is None else Path(model).name


def _first(data: Data, n: int | None) -> Data:
    """The first `n` training samples."""
    if n is None or n >= len(data.y):
        return data
    return replace(data.take(np.arange(n)), what=f"{data.what}, {n:,} of them")


def _embedded(setup: Setup, name: str, split: str) -> Dataset:
    folder = None if setup.data is None else str(setup.data)
    extractor = ExtractorSettings(model=model_at_hand(setup, IMAGE_MODELS[:1]))
    spec = DataSpec(name, split=split, data_dir=folder, extractor=extractor)
    return open_data(spec, name, Stages(True), setup.tell).dataset


def _decoded(setup: Setup, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    source = open_source(name, Columns(), split, setup.data)
    assert isinstance(source, Samples)
    decode = source.content.decode
    pixels = np.stack([np.asarray(decode(source.content.read(row))) for row in range(len(source.labels))])
    return pixels, np.unique(source.labels, return_inverse=True)[1]


def _human_labels(setup: Setup, classes: np.ndarray) -> np.ndarray | None:
    """(N,) of CIFAR-10N, the majority of three annotators, where its file lies in the folder of the data."""
    if setup.data is None or not any(setup.data.rglob("CIFAR-10_human.pt")):
        return None
    source = open_source("cifar10", Columns(labels="aggre_label"), "train", setup.data)
    assert isinstance(source, Samples)
    return _codes(source.labels, classes)


def _codes(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return pd.Index(list(map(str, classes))).get_indexer(pd.Index(list(map(str, labels)))).astype(np.int64)
