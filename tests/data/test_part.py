"""A trial on a part of the samples, each class in proportion."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

import lapsi
from commands import fail, run
from lapsi.data.dataset import make_dataset
from lapsi.data.part import draw_rows, part_of
from lapsi.data.samples import Texts
from lapsi.data.targets import ClassTargets

N = 400


@pytest.fixture
def labels():
    return np.repeat(["often", "rare", "seldom"], [350, 3, 47])


def test_classes_give_the_same_share_and_none_is_lost(labels):
    names, codes = np.unique(labels, return_inverse=True)
    rows = draw_rows(ClassTargets(codes, names), 80, 0)
    sizes = pd.Series(labels[rows]).value_counts()
    assert sizes["often"] == pytest.approx(70, abs=1)
    assert sizes["seldom"] == pytest.approx(9.4, abs=1)
    assert sizes["rare"] >= 2
    assert_array_equal(rows, np.unique(rows))
    assert_array_equal(rows, draw_rows(ClassTargets(codes, names), 80, 0))
    assert set(rows) != set(draw_rows(ClassTargets(codes, names), 80, 1))
    assert_array_equal(draw_rows(ClassTargets(codes, names), 1000, 0), np.arange(N))


def test_numbers_are_drawn_over_their_whole_range():
    X, y = np.zeros((N, 1)), np.random.default_rng(0).exponential(size=N)
    part = part_of(make_dataset(X, y), 40)
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(part.targets.given, share) == pytest.approx(np.quantile(y, share), rel=0.25)


def test_a_part_is_the_data_set_of_its_rows(labels):
    X = np.random.default_rng(0).normal(size=(N, 3))
    whole = make_dataset(
        X, labels, ids=[f"s{row}" for row in range(N)], columns={"age": np.arange(N)}, weights=np.arange(N) + 1
    )
    part = part_of(whole, 50)
    assert (part.n_source, part.n_samples) == (N, len(part.rows))
    assert_array_equal(np.asarray(part.features), X[part.rows])
    assert_array_equal(part.targets.shown, labels[part.rows])
    assert part.ids.tolist() == [f"s{row}" for row in part.rows]
    assert_array_equal(part.columns["age"], part.rows)
    assert_array_equal(part.weights, part.rows + 1)
    np.testing.assert_allclose(part.survey.mean, np.average(X[part.rows], axis=0, weights=part.rows + 1), rtol=1e-12)
    assert part.digest() != whole.digest()
    assert part_of(whole, N) is whole


def test_a_trial_is_scored_reported_and_measured(tmp_path, monkeypatch, labels):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 3)), columns=["f0", "f1", "f2"]).assign(kind=labels)
    frame.to_parquet("data.parquet")
    call = ("score", "data.parquet", "--labels", "kind", "--feature-prefix", "f", "--verify", 0, "--rows", 60, "-o", "run")
    told = run(*call)
    assert told.returncode == 0, told.stderr
    assert "of 400 samples, drawn by class." in " ".join(told.stderr.split())
    scores = lapsi.load_run("run")
    assert 60 <= len(scores) <= 62
    assert_array_equal(scores.table["label"], labels[scores.table["row"]])
    for more in (("report", "run", "-q"), ("measure", "run", "--add", "el2n", "-q"), ("export", "run", "--to", "rows.csv")):
        assert run(*more).returncode == 0, more
    assert "leave one out" in fail(2, *call[:-1], "other", "--human-labels", "x.npy", "-q")
    assert "of at least 2" in fail(2, *call[:-1], "other", "--rows", 1, "-q")


@pytest.mark.slow
def test_only_the_texts_of_a_trial_are_embedded(tmp_path, monkeypatch, models):
    monkeypatch.chdir(tmp_path)
    texts = pd.DataFrame(
        {"id": [f"t{row}" for row in range(60)], "text": [f"film {row}" for row in range(60)], "label": [0, 1] * 30}
    )
    texts.to_csv("texts.csv", index=False)
    read, before = [], Texts.read
    monkeypatch.setattr(Texts, "read", lambda self, position: read.append(position) or before(self, position))
    call = ("score", "texts.csv", "--model", models["text"], "--cache", "cache", "--verify", 0, "--rows", 12, "-q", "-o", "run")
    assert run(*call).returncode == 0
    scores = lapsi.load_run("run")
    assert set(read) == set(scores.table["row"])
    assert scores.table["id"].tolist() == [f"t{row}" for row in scores.table["row"]]
    assert scores.table["text"].tolist() == [f"film {row}" for row in scores.table["row"]]
    assert run("report", "run", "-q").returncode == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (3, "The texts are a int; expected a list"),
        (None, "The texts are a NoneType; expected a list"),
        ({"a": 1}, "The texts are a dict; expected a list"),
        ([], "There is no text to embed; expected at least 2"),
    ],
)
def test_what_is_no_list_of_samples_is_refused(values, message):
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.embed(values, kind="text", progress=False)
    with pytest.raises(lapsi.InputError, match=message.replace("text", "image")):
        lapsi.embed(values, kind="image", progress=False)


def test_a_model_that_is_no_name_is_refused():
    with pytest.raises(lapsi.InputError, match="model is a Identity; expected a folder or a name.*lapsi.score_network"):
        lapsi.embed(["a", "b"], kind="text", model=torch.nn.Identity(), progress=False)


def test_a_folder_is_no_list_of_images(tmp_path):
    with pytest.raises(lapsi.InputError, match="is a folder; expected a list of images"):
        lapsi.embed(str(tmp_path), kind="image")
