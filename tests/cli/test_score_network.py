"""`lapsi score-network`: a function that makes a module and its data, scored to a run directory."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import lapsi
from commands import fail, run

MADE = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 4, generator=generator)
    y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=500, line_search_fn="strong_wolfe")
    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(module(X), y)
        value = value + 5e-3 * sum(part.square().sum() for part in module.parameters())
        value.backward()
        return value
    optimizer.step(loss)
    return module, TensorDataset(X, y)

def named():
    module, dataset = make()
    return {"model": module, "dataset": dataset, "classes": ["a", "b", "c"]}

def twice():
    module, dataset = make()
    X, y = dataset.tensors
    X[29], y[29] = X[0], y[0]
    return module, dataset

def pictured():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(20, 3, 6, 6, generator=generator), torch.arange(20) % 2
    images[labels == 1, 0] += 2
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)), TensorDataset(images, labels)

def asking(data):
    return make()


def bogus():
    return {"model": make()[0], "dataset": make()[1], "curvatur": "diag"}


def nothing():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "made.py").write_text(MADE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_training_data_of_a_module_are_scored_from_a_file(folder):
    told = run("score-network", "made.py:named", "-o", "run", "--weight-decay", "0.01", "--verify", "3").stdout
    words = " ".join(told.split())
    assert "30 of 30 samples from TensorDataset: 27 parameters, 3 classes; Sequential (all parameters)" in words
    assert "Training went on from the given weights without 3 samples" in words
    scores = lapsi.Scores.load(folder / "run")
    assert scores.classes.tolist() == ["a", "b", "c"]
    assert (folder / "run" / "overview.png").is_file()
    assert not (folder / "run.partial").exists()
    run("report", "run", "-q")
    page = (folder / "run.html").read_text()
    assert "seen by a network of 27 parameters" in page
    assert 'id="map"' in page
    assert "the 3 numbers that go into the last linear layer of the network, &#39;2&#39;" in page
    assert "Features (map, neighbours, checks): the 3 numbers that go into the last linear layer of the network, '2'." in words
    run("groups", "run", "-q")
    assert "the run is of Sequential (all parameters)" in fail(2, "groups", "run", "--leave-group-out", "--by", "label")


@pytest.mark.slow
def test_checks_and_another_map_go_by_the_features_that_the_run_keeps(folder, monkeypatch):
    pytest.importorskip("cleanlab.datalab.datalab")
    run("score-network", "made.py:twice", "-o", "run", "--weight-decay", "0.01", "--verify", "0", "-q")
    (folder / "made.py").unlink()
    told = json.loads(run("check", "run", "--json").stdout)
    found = {each["check"]: each for each in told["findings"]}
    assert found["duplicates"]["found"] >= 2
    assert not {"duplicates", "outliers", "order"} & set(told["left_out"])
    assert "no feature but those learned" in told["left_out"]["label given away"]
    checked = lapsi.Scores.load(folder / "run")
    assert checked.table["check_duplicate_set"][[0, 29]].nunique() == 1
    assert checked.table["check_duplicate"][[0, 29]].notna().all()
    again = lapsi.check(checked, progress=False)
    assert again.table.equals(checked.table)

    class Flat:
        def __init__(self, **_):
            pass

        def fit_transform(self, inputs):
            assert np.array_equal(inputs, checked.features)
            return inputs[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Flat))
    run("report", "run", "--map", "umap", "-q")
    assert "(UMAP, two dimensions)" in " ".join((folder / "run.html").read_text().split())


def test_options_reach_the_run(folder):
    told = run(
        "score-network", "made.py:make", "-o", "run", "--params", "2", "--curvature", "full", "--verify", "0", "--limit", "5",
        "--json", "-q",
    )  # fmt: skip
    record = json.loads(told.stdout)
    assert record["settings"]["network"] == {
        "module": "Sequential",
        "params": ["2"],
        "loss": "cross_entropy",
        "tokens": "sum",
        "draws": 4,
    }
    assert record["settings"]["curvature"] == "full"
    assert len(lapsi.Scores.load(folder / "run")) == 5


def test_a_recipe_asks_for_retraining(folder):
    run("score-network", "made.py:make", "-o", "run", "--epochs", "3", "--seeds", "1", "--verify", "0", "--limit", "4", "-q")
    scores = lapsi.Scores.load(folder / "run")
    assert scores.provenance.engine == "retrain"
    assert scores.provenance.settings["engine"]["recipe"]["epochs"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["made.py:other"], "made.py has no function 'other'"),
        (["made.py"], "'made.py' names no function; expected MODULE:FUNCTION"),
        (["gone.py:make"], "There is no file gone.py"),
        (["gone:make"], "gone cannot be imported"),
        (["made.py:nothing"], "returns a int; expected the module and its data set"),
        (["made.py:asking"], "made.py:asking needs data; expected a function that is called without arguments"),
        (["made.py:bogus"], "a mapping with 'curvatur', which lapsi.score_network does not take. Did you mean 'curvature'?"),
        (["made.py:make", "--params", "head"], "names the module 'head'"),
        (["made.py:make", "--limit", "0"], "--limit is 0"),
        (["made.py:make", "--epochs", "3", "--refine", "2"], "refine was given, but it belongs to engine 'ekfac'"),
        (["made.py:make", "--engine", "ekfac", "--every", "3"], "every was given, but it belongs to engine 'retrain'"),
        (["made.py:make", "--curvature", "whole"], "whole"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line_and_nothing_is_written(folder, arguments, message):
    assert message in fail(2, "score-network", *arguments, "-o", "run", "-q")
    assert not (folder / "run").exists()


def test_the_pictures_of_a_data_set_are_shown(folder):
    run("score-network", "made.py:pictured", "-o", "run", "--weight-decay", "0.01", "--verify", "0", "-q")
    pixels = np.asarray(Image.open(folder / "run" / "overview.png"))
    assert pixels.shape[0] > 1.4 * pixels.shape[1] * 3.4 / 9  # galleries below the histogram
    run("report", "run", "-q")
    assert '"kind":"image"' in (folder / "run.html").read_text().replace(" ", "")
