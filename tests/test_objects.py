"""Data sets that people hold in Python are scored as their features are."""

import datasets
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import lapsi
from lapsi.data.objects import Known, open_object

N = 24
LABELS = np.where(np.arange(N) % 2, "pos", "neg")
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(["good", "fine", "film"] if label == "pos" else ["bad", "dull", "film"], 4)) for label in LABELS]
PIXELS = (RNG.integers(0, 120, (N, 9, 9, 3)) + 120 * (np.arange(N) % 2)[:, None, None, None]).astype(np.uint8)
IMAGES = [Image.fromarray(each) for each in PIXELS]
QUIET = {"verify": 0, "progress": False}

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def expected(models, tmp_path_factory):
    """LSI of the features, by kind."""
    cache = tmp_path_factory.mktemp("cache")

    def lsi(values, kind):
        features = lapsi.embed(values, kind=kind, model=models[kind], progress=False, cache=cache)
        return lapsi.score(features, LABELS, **QUIET).lsi

    return {"text": lsi(TEXTS, "text"), "image": lsi(PIXELS, "image")}


class Items(Dataset):
    """Items made by a function of their position."""

    def __init__(self, make, n=N):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, row):
        return self.make(row)


TEXT_OBJECTS = {
    "list": lambda: (TEXTS, LABELS),
    "series": lambda: (pd.Series(TEXTS), LABELS),
    "pandas": lambda: (pd.DataFrame({"text": TEXTS, "label": LABELS}), None),
    "polars": lambda: (polars.DataFrame({"text": TEXTS, "kind": LABELS}), "kind"),
    "arrow": lambda: (pa.table({"review": TEXTS}), LABELS),
    "datasets": lambda: (datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}), None),
    "splits": lambda: (datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})}), None),
    "datasets with labels": lambda: (datasets.Dataset.from_dict({"text": TEXTS}), LABELS),
    "torch": lambda: (Items(lambda row: (TEXTS[row], LABELS[row])), None),
    "torch mappings": lambda: (Items(lambda row: {"text": TEXTS[row], "label": LABELS[row]}), None),
    "loader": lambda: (DataLoader(Items(lambda row: (TEXTS[row], LABELS[row]))), None),
}
IMAGE_OBJECTS = {
    "list": lambda: (IMAGES, LABELS),
    "array": lambda: (PIXELS, LABELS),
    "datasets": lambda: (datasets.Dataset.from_dict({"image": IMAGES, "label": LABELS}), None),
    "torch": lambda: (Items(lambda row: (IMAGES[row], LABELS[row])), None),
    "subset": lambda: (Subset(Items(lambda row: (IMAGES[row], LABELS[row]), n=2 * N), range(N)), None),
    "tensors": lambda: (Items(lambda row: (torch.from_numpy(PIXELS[row]), LABELS[row])), None),
}
IMAGE_OBJECTS["subset"] = lambda: (Subset(Items(lambda row: (IMAGES[row % N], LABELS[row % N]), n=2 * N), range(N)), None)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT_OBJECTS)
def test_texts_are_scored_as_their_features(name, models, expected):
    held, labels = TEXT_OBJECTS[name]()
    scores = lapsi.score_samples(held, labels, extractor=models["text"], **QUIET)
    assert_allclose(scores.lsi, expected["text"], rtol=1e-5)
    assert scores.provenance.extractor["model"] == models["text"]
    assert scores.provenance.data == {}
    if "torch" not in name and name != "loader":
        assert scores.table["text"].tolist() == TEXTS


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_OBJECTS)
def test_images_are_scored_as_their_features(name, models, expected):
    held, labels = IMAGE_OBJECTS[name]()
    scores = lapsi.score_samples(held, labels, extractor=lapsi.ExtractorSettings(models["image"]), **QUIET)
    assert_allclose(scores.lsi, expected["image"], rtol=1e-5)


@pytest.mark.slow
def test_paths_are_images_and_travel_along(models, expected, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(N)]
    for path, image in zip(paths, IMAGES, strict=True):
        image.save(path)
    names = [str(path) for path in paths]
    for held, images in ((paths, None), (names, "path"), (names, None), (pd.Series(names), None)):
        scores = lapsi.score_samples(held, LABELS, images=images, extractor=models["image"], **QUIET)
        assert_allclose(scores.lsi, expected["image"], rtol=1e-5)
        assert scores.table["path"].tolist() == [str(path) for path in paths]


@pytest.mark.parametrize("n_missing", [1, N])
def test_strings_that_look_like_paths_are_not_taken_for_texts(tmp_path, n_missing):
    names = [str(tmp_path / f"{row}.JPG") for row in range(N)]
    for name in names[n_missing:]:
        IMAGES[0].save(name)
    message = f"^The 24 strings look like paths of images, but {n_missing} name no file"
    with pytest.raises(lapsi.InputError, match=message) as told:
        lapsi.score_samples(names, LABELS, **QUIET)
    assert "images='path' or texts='text'" in str(told.value)
    assert "\n" not in str(told.value)


def test_texts_that_are_said_to_be_texts_or_do_not_all_end_as_images_stay_texts():
    for held, texts in (([f"I drew {row}.png" for row in range(N)], "text"), (["a.png", "a cat"], None)):
        found = open_object(held, Known(LABELS[: len(held)], texts=texts))
        assert found.content.kind == "text"
        assert found.columns["text"].tolist() == held


@pytest.mark.parametrize("held", [TEXTS, IMAGES], ids=["texts", "images"])
def test_a_model_that_is_nowhere_is_told_by_the_name_of_the_argument(monkeypatch, held):
    monkeypatch.setattr("lapsi.data.extractors.loading.HUB_TIMEOUT", 0.5)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(lapsi.InputError, match="with extractor=") as told:
        lapsi.score_samples(held, LABELS, extractor="no-such/model", **QUIET)
    assert ("lapsi.score(frame[[column]], labels)" in str(told.value)) == (held is TEXTS)
    assert "--" not in str(told.value)


def test_texts_in_a_table_go_without_a_model():
    scores = lapsi.score(pd.DataFrame({"text": TEXTS})[["text"]], LABELS, **QUIET)
    assert scores.provenance.extractor is None
    assert len(scores) == N


@pytest.mark.slow
def test_classes_of_which_nothing_is_left_are_told(models, tmp_path, capsys):
    paths = [tmp_path / f"{row}.png" for row in range(N)]
    for path, image in zip(paths[3:], IMAGES[3:], strict=True):
        image.save(path)
    labels = np.where(np.arange(N) < 3, "lost", LABELS)
    with pytest.raises(lapsi.InputError, match="^3 of the 24 samples cannot be read"):
        lapsi.score_samples(paths, labels, extractor=models["image"], **QUIET)
    scores = lapsi.score_samples(paths, labels, extractor=models["image"], skip_bad=True, verify=0)
    assert set(scores.table["label"]) == {"neg", "pos"}
    told = " ".join(capsys.readouterr().err.split())
    assert "No sample of 1 of the 3 classes could be read, so they are gone: lost." in told


@pytest.mark.slow
def test_the_cache_and_what_cannot_be_read_are_as_on_the_command_line(models, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(N)]
    for path, image in zip(paths, IMAGES, strict=True):
        image.save(path)
    paths[3].write_bytes(b"nothing")
    ids = [f"s{row}" for row in range(N)]
    with pytest.raises(lapsi.InputError, match="1 of the 24 samples cannot be read: .*3.png.*; skip_bad=True leaves them out"):
        lapsi.score_samples(paths, LABELS, extractor=models["image"], **QUIET)
    several = {"extractor": models["image"], "skip_bad": True, "ids": ids, "indices": [2, 3, 4], "measures": ["el2n"]}
    first = lapsi.score_samples(paths, LABELS, **several, **QUIET)
    again = lapsi.score_samples(paths, LABELS, **several, **QUIET)
    assert first.table["row"].tolist() == [2, 4]
    assert first.table["id"].tolist() == ["s2", "s4"]
    assert np.isfinite(first.table["el2n"]).all()
    assert again.provenance.extractor["n_from_cache"] == N - 1
    assert_array_equal(again.lsi, first.lsi)


VECTORS = RNG.normal(size=(N, 4)).astype(np.float32)


def test_vectors_and_tables_need_no_extractor():
    codes = torch.arange(N) % 2
    direct = lapsi.score(VECTORS, codes.numpy(), **QUIET)
    found = lapsi.score_samples(TensorDataset(torch.from_numpy(VECTORS), codes), **QUIET)
    assert_array_equal(found.lsi, direct.lsi)
    table = pd.DataFrame({"age": np.arange(N) % 7, "work": [["a", "b", "c"][row % 3] for row in range(N)], "label": LABELS})
    direct = lapsi.score(table.drop(columns="label"), LABELS, **QUIET)
    for held in (table, polars.from_pandas(table), datasets.Dataset.from_pandas(table, preserve_index=False)):
        found = lapsi.score_samples(held, **QUIET)
        assert_array_equal(found.lsi, direct.lsi)
        assert found.provenance.table == direct.provenance.table
        assert found.provenance.data_hash == direct.provenance.data_hash


class Stream(IterableDataset):
    def __iter__(self):
        return iter(TEXTS)


@pytest.mark.parametrize(
    ("held", "labels", "message"),
    [
        (TEXTS, None, "A list has no labels; pass them as labels"),
        (TEXTS, "label", "A list has no labels; pass them as labels"),
        (TEXTS[0], LABELS, "samples are a str; expected a datasets.Dataset"),
        ([], LABELS, "The list is empty"),
        (TEXTS, LABELS[:-1], "24 samples but 23 labels"),
        (Stream(), LABELS, "A Stream has no length; expected a map-style"),
        (Items(lambda row: TEXTS[row]), None, "The items hold no labels"),
        (Items(lambda row: {"speech": 3, "label": 1}), None, "neither images nor texts under a usual name, but speech, label"),
        (Items(lambda row: (np.zeros(row + 1), row % 2)), None, "The items have shapes"),
        (Items(lambda row: {"text": "a", "lable": 1}), None, "An item: which holds the labels. Name it with labels="),
        (pd.DataFrame({"text": TEXTS, "kind": LABELS}), "kinds", "no labels named 'kinds'.*Did you mean 'kind'"),
        (pd.DataFrame({"age": range(N), "kind": LABELS}), None, "The frame: which holds the labels. Name it with labels=; it"),
        (
            datasets.Dataset.from_dict({"text": TEXTS, "kind": LABELS}),
            None,
            "The data set: which holds the labels. Name it with labels=",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(held, labels, message):
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.score_samples(held, labels, **QUIET)


def test_options_without_effect_are_refused():
    table = pd.DataFrame({"age": np.arange(N), "label": LABELS})
    with pytest.raises(lapsi.InputError, match="extractor was given, but a DataFrame"):
        lapsi.score_samples(table, extractor="x", **QUIET)
    with pytest.raises(lapsi.InputError, match="split is 'train', but a DataFrame has no splits"):
        lapsi.score_samples(table, split="train", **QUIET)


@pytest.mark.parametrize(
    "held", [TEXTS, IMAGES, datasets.Dataset.from_dict({"text": TEXTS}), Items(lambda row: (TEXTS[row], 0))]
)
def test_samples_passed_as_features_name_the_function_to_call(held):
    with pytest.raises(lapsi.InputError, match="of samples, not of features; pass it to lapsi.score_samples"):
        lapsi.score(held, LABELS, **QUIET)


def faulty(row, fault):
    """An item, and at row 7 what `fault` says."""
    item = {"text": TEXTS[row], "label": row % 2}
    return fault(item) if row == 7 else item


def raising(_):
    raise RuntimeError("the file is damaged\nand so on")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            lambda item: item | {"text": None},
            "^1 of the 24 samples cannot be read: text 7 .the row holds nothing.*; skip_bad=True leaves them out.$",
        ),
        (lambda item: item | {"text": 7}, "The data set: row 7 holds 7 where a text is expected"),
        (lambda item: item | {"text": "a\udcff"}, "The data set: row 7 is no text in UTF-8"),
        (lambda item: {"label": 1}, "Item 7 of the data set cannot be read .KeyError: 'text'."),
        (lambda item: {"text": "a"}, "Item 7 of the data set cannot be read .KeyError: 'label'."),
        (lambda item: item | {"label": None}, "One label is missing .* at row 7"),
        (raising, "Item 7 of the data set cannot be read .RuntimeError: the file is damaged.; mend it"),
    ],
)
def test_items_that_are_no_texts_are_told_and_never_become_words(fault, message):
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.score_samples(Items(lambda row: faulty(row, fault)), extractor="never/asked", **QUIET)


def test_labels_of_several_numbers_are_told():
    with pytest.raises(lapsi.InputError, match=r"labels have shape .24, 2.; expected one axis of 24"):
        lapsi.score_samples(Items(lambda row: (TEXTS[row], torch.tensor([row % 2, 1]))), extractor="never/asked", **QUIET)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.full((3, 9, 9), torch.nan), "its numbers are not all finite"),
        (torch.full((3, 9, 9), torch.inf), "its numbers are not all finite"),
        (None, "it holds a NoneType where an image is expected"),
    ],
)
def test_items_that_are_no_images_are_named_or_left_out(models, value, reason):
    pixels = torch.from_numpy(PIXELS).float().movedim(3, 1) / 255
    held = Items(lambda row: (value if row == 23 else pixels[row], row % 2))
    with pytest.raises(lapsi.InputError, match=rf"1 of the 24 samples cannot be read: item 23 \({reason}\)"):
        lapsi.score_samples(held, extractor=models["image"], **QUIET)
    scores = lapsi.score_samples(held, extractor=models["image"], skip_bad=True, **QUIET)
    assert scores.table["row"].tolist() == list(range(23))
    whole = lapsi.score_samples(Items(lambda row: (pixels[row], row % 2), 23), extractor=models["image"], **QUIET)
    assert_allclose(scores.lsi, whole.lsi, rtol=1e-9)
