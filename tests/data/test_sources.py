"""What the user names becomes labelled features or raw samples: folders, tables, arrays and Hugging Face data sets."""

import io

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.numpy import load_file

import lapsi
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.labels import read_labels
from lapsi.data.readers.source import open_source
from lapsi.data.writing import write_features

COLOURS = np.arange(12, dtype=np.uint8) * 20
LABELS = np.array(["cat", "dog", "emu"] * 4)
TEXTS = [f"text number {row}" for row in range(12)]
WHO = np.array(list("aabbccddeeff"))


def picture(row):
    return Image.new("RGB", (6, 4), (int(COLOURS[row]), 0, 0))


def png(row):
    stream = io.BytesIO()
    picture(row).save(stream, "PNG")
    return stream.getvalue()


def red(samples):
    """What identifies each image."""
    return [samples.content.decode(samples.content.read(row)).getpixel((0, 0))[0] for row in range(len(samples.content))]


def words(samples):
    return [samples.content.decode(samples.content.read(row)) for row in range(len(samples.content))]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for row, label in enumerate(LABELS):
        (root / "train" / label).mkdir(parents=True, exist_ok=True)
        picture(row).save(root / "train" / label / f"{row:02}.png")
    (root / "train" / "cat" / ".hidden.png").write_bytes(b"")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    return root


def test_image_folders(folder):
    samples = open_source(str(folder / "train"), Columns())
    order = np.argsort(LABELS, kind="stable")
    assert_array_equal(samples.labels, LABELS[order])
    assert red(samples) == COLOURS[order].tolist()
    assert samples.ids[0] == "cat/00.png"
    assert samples.columns["path"][0] == str(folder / "train" / "cat" / "00.png")
    split = open_source(str(folder), Columns(), "train")
    assert red(split) == red(samples)
    assert set(split.columns["split"]) == {"train"}


def test_image_folders_that_are_none(folder, tmp_path):
    (tmp_path / "one" / "train").mkdir(parents=True)
    picture(0).save(tmp_path / "one" / "train" / "0.png")
    with pytest.raises(lapsi.InputError, match=r"holds 1 subfolders with images \(train\); expected one a class"):
        open_source(str(tmp_path / "one"), Columns())
    with pytest.raises(lapsi.InputError, match="has no split 'val'; it holds train"):
        open_source(str(folder), Columns(), "val")
    (folder / "train").rename(folder / "test")
    (folder / "val").mkdir()
    for label in set(LABELS):
        (folder / "val" / label).mkdir()
        picture(0).save(folder / "val" / label / "0.png")
    with pytest.raises(lapsi.InputError, match="look like splits, each with a folder a class; name one, e.g. --split test"):
        open_source(str(folder), Columns())


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_tables_of_paths_and_texts(folder, tmp_path, kind):
    paths = [f"train/{label}/{row:02}.png" for row, label in enumerate(LABELS)]
    frame = pd.DataFrame(
        {"file_name": paths, "review": TEXTS, "label": LABELS, "second": LABELS[::-1], "who": WHO, "part": "x"}
    )
    path = folder / f"table.{kind}"
    writers = {"csv": frame.to_csv, "parquet": frame.to_parquet, "jsonl": frame.to_json}
    writers[kind](path, **({"orient": "records", "lines": True} if kind == "jsonl" else {"index": False}))
    columns = {"reference_labels": "second", "group": "who", "split": "part", "keep": ("review",)}
    images = open_source(str(path), Columns(images="file_name", **columns))
    assert red(images) == COLOURS.tolist()
    assert_array_equal(images.ids, paths)
    assert images.columns["path"][3] == str(folder / paths[3])
    for name, expected in (("reference_label", LABELS[::-1]), ("group", WHO), ("split", ["x"] * 12), ("review", TEXTS)):
        assert_array_equal(images.columns[name], expected)
    texts = open_source(str(path), Columns())  # a column with a usual name for texts comes first
    assert words(texts) == TEXTS
    assert_array_equal(texts.columns["text"], TEXTS)
    assert_array_equal(texts.labels, LABELS)


def test_images_inside_parquet_and_npz(tmp_path):
    for name, values in (
        ("bytes", [png(row) for row in range(12)]),
        ("struct", [{"bytes": png(row), "path": None} for row in range(12)]),
    ):
        pd.DataFrame({"image": values, "label": LABELS}).to_parquet(tmp_path / f"{name}.parquet")
        assert red(open_source(str(tmp_path / f"{name}.parquet"), Columns())) == COLOURS.tolist()
    pixels = np.stack([np.asarray(picture(row)) for row in range(12)])
    np.savez(tmp_path / "images.npz", images=pixels, labels=LABELS)
    samples = open_source(str(tmp_path / "images.npz"), Columns())
    assert red(samples) == COLOURS.tolist()
    assert samples.ids is None


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({}, Columns(texts="words"), "no texts named 'words'; it has text, label, who"),
        ({}, Columns(group="whom"), "no group named 'whom'"),
        ({}, Columns(images="text", texts="text"), "Both a column with images and one with texts"),
        ({}, Columns(labels="labels"), "no labels named 'labels'"),
        ({"text": range(12)}, Columns(), "row 0 holds 0 where a text"),
        ({"text": range(12)}, Columns(images="text"), "the images are of type int64; expected paths"),
        ({"text": [None] * 12}, Columns(images="text"), "all 12 images are missing"),
    ],
)
def test_tables_with_faults(tmp_path, change, columns, message):
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS, "who": WHO}).assign(**change)
    frame.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(lapsi.InputError, match=message):
        open_source(str(tmp_path / "table.parquet"), columns)


def hub_rows(**more):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "emu"]), "who": datasets.Value("string")}
    )
    rows = {"image": [picture(row) for row in range(12)], "label": ["cat", "dog", "emu"] * 4, "who": list(WHO)}
    return datasets.Dataset.from_dict(rows, features=features)


def test_saved_data_sets(tmp_path):
    datasets.DatasetDict({"train": hub_rows(), "test": hub_rows().select(range(3))}).save_to_disk(tmp_path / "both")
    hub_rows().save_to_disk(tmp_path / "one")
    both = open_source(str(tmp_path / "both"), Columns(group="who"))
    assert red(both) == COLOURS.tolist()
    assert_array_equal(both.labels, LABELS)
    assert_array_equal(both.columns["group"], WHO)
    assert set(both.columns["split"]) == {"train"}
    assert red(open_source(str(tmp_path / "both"), Columns(), "test")) == COLOURS[:3].tolist()
    assert "split" not in open_source(str(tmp_path / "one"), Columns()).columns
    for source, columns, split, message in (
        ("both", Columns(), "val", "no split 'val'; it has train, test"),
        ("one", Columns(), "train", "has no splits; leave --split out"),
        ("one", Columns(group="whom"), None, "no group named 'whom'; it has image, label, who"),
        ("one", Columns(images="who"), None, "'who' holds .*; expected images"),
        ("one", Columns(texts="who", labels="nope"), None, "no labels named 'nope'"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            open_source(str(tmp_path / source), columns, split)
    (tmp_path / "one" / "dataset_info.json").unlink()
    with pytest.raises(lapsi.InputError, match="cannot be read as a saved data set"):
        open_source(str(tmp_path / "one"), Columns())


def test_saved_texts(tmp_path):
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1] * 6})
    rows.save_to_disk(tmp_path / "texts")
    samples = open_source(str(tmp_path / "texts"), Columns())
    assert words(samples) == TEXTS
    assert_array_equal(samples.labels, [0, 1] * 6)


def test_hub_names(monkeypatch):
    asked = []

    def load(repository, configuration):
        asked.append((repository, configuration))
        return datasets.DatasetDict({"train": hub_rows()})

    monkeypatch.setattr("lapsi.data.readers.hub._require_reachable", lambda *_: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert red(open_source("hf:me/pictures:small", Columns())) == COLOURS.tolist()
    assert asked == [("me/pictures", "small")]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: 1 / 0)
    with pytest.raises(lapsi.InputError, match="'me/pictures' cannot be loaded .division by zero"):
        open_source("hf:me/pictures", Columns())


def test_hub_out_of_reach(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(lapsi.InputError, match="not in the local cache, and the hub cannot be reached"):
        open_source("hf:no-such/data", Columns())
    with pytest.raises(lapsi.InputError, match="names no data set; expected e.g. hf:"):
        open_source("hf:no such data", Columns())


def test_named_and_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_source("digits", Columns()).n_samples == 1797
    with pytest.raises(lapsi.InputError, match="nothing does not exist; expected a file, .* cifar10"):
        open_source("nothing", Columns())
    with pytest.raises(lapsi.InputError, match=r"nothing\.csv does not exist"):
        open_source("nothing.csv", Columns())
    np.savez("a.npz", features=np.eye(4), labels=[0, 1, 0, 1])
    with pytest.raises(lapsi.InputError, match="has no splits.*--split-column"):
        open_source("a.npz", Columns(), "train")
    with pytest.raises(lapsi.InputError, match="--data-dir is for named data sets"):
        open_source("a.npz", Columns(), None, tmp_path)


def test_features_carry_columns_and_class_names(tmp_path):
    X, codes = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
    names = np.array(["cat", "dog", "emu"])
    np.savez(tmp_path / "a.npz", features=X, labels=codes, other=codes[::-1], who=WHO, class_names=names)
    dataset = open_source(str(tmp_path / "a.npz"), Columns(reference_labels="other", group="who"))
    assert isinstance(dataset, Dataset)
    assert_array_equal(dataset.classes, names)
    assert_array_equal(dataset.columns["reference_label"], names[codes[::-1]])
    assert_array_equal(dataset.columns["group"], WHO)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", codes)
    np.save(tmp_path / "who.npy", WHO)
    pair = open_source(str(tmp_path / "x.npy"), Columns(labels=str(tmp_path / "y.npy"), group=str(tmp_path / "who.npy")))
    assert_array_equal(pair.columns["group"], WHO)
    with pytest.raises(lapsi.InputError, match="no class names named 'names'"):
        open_source(str(tmp_path / "a.npz"), Columns(class_names="names"))


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (["cat", "dog", "cat"], [0, 1, 2, 0], "'names' calls both class 0 and class 2 'cat'"),
        (["cat", "dog"], [0, 1, 2, 0], "holds 2 names, but the labels run from 0 to 2; expected positions from 0 to 1"),
        (["cat", "dog"], ["a", "b", "a", "b"], "holds 2 names, but the labels are of type <U1"),
    ],
)
def test_class_names_that_fit_no_labels_are_refused(tmp_path, names, labels, message):
    np.savez(tmp_path / "a.npz", features=np.eye(4), labels=labels, names=names)
    with pytest.raises(lapsi.InputError, match=message):
        open_source(str(tmp_path / "a.npz"), Columns(class_names="names"))


def test_feature_files_of_our_own_come_back_whole(tmp_path):
    X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    columns = {"text": TEXTS, "group": WHO, "reference_label": LABELS[::-1]}
    dataset = make_dataset(X, LABELS, ids=[f"s{row}" for row in range(12)], columns=columns, source="here")
    path = tmp_path / "features.safetensors"
    write_features(dataset, {"extractor": {"model": "m"}}, path)
    again = read_dataset(path, Columns())
    assert again.digest() == dataset.digest()
    pd.testing.assert_frame_equal(again.columns, dataset.columns, check_dtype=False)
    held = load_file(path)
    assert_array_equal(held["features"], X)
    assert_array_equal(held["labels"], dataset.labels)
    swapped = read_dataset(path, Columns(labels="reference_label", reference_labels="label"))
    assert_array_equal(swapped.classes[swapped.labels], LABELS[::-1])
    assert_array_equal(swapped.columns["reference_label"], LABELS)


def test_labels_alone(tmp_path):
    np.save(tmp_path / "y.npy", LABELS)
    (tmp_path / "y.txt").write_text("\n".join(LABELS) + "\n")
    pd.DataFrame({"mine": LABELS, "label": LABELS[::-1]}).to_csv(tmp_path / "y.csv", index=False)
    torch.save({"clean_label": np.arange(12), "worse_label": np.arange(12) % 5}, tmp_path / "human.pt")
    assert_array_equal(read_labels(f"{tmp_path / 'human.pt'}:worse_label"), np.arange(12) % 5)
    for place in ("y.npy", "y.txt", "y.csv:mine"):
        assert_array_equal(read_labels(str(tmp_path / place)).astype(str), LABELS)
    assert_array_equal(read_labels(str(tmp_path / "y.csv")).astype(str), LABELS[::-1])
    for place, message in (
        ("y.csv:his", "no labels named 'his'; it has mine, label"),
        ("none.npy", "none.npy does not exist"),
        ("y.npy:mine", "holds one array without a name, so 'mine' does not apply"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            read_labels(str(tmp_path / place))
