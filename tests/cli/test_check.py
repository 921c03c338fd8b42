"""`lapsi check`: what it shows, what it writes, and what it refuses."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import lapsi
from commands import fail, run

N = 120
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Features of which three samples are there twice, and a run of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    features = rng.normal(size=(N, 12)) + 3 * np.eye(3, 12)[labels]
    features[60:63] = features[:3]
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", features=features, labels=labels, split=np.where(np.arange(N) < 60, "train", "test"))
    assert run("score", "x.npz", "--split-column", "split", "-o", "run", "--verify", 0, "--quiet").returncode == 0
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_check_is_shown_and_written(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pictures = (folder / "run" / "overview.png").read_bytes()
    result = run("check", "run")
    assert result.returncode == 0
    assert "6 samples in 3 sets" in result.stdout
    assert "0 (0) = 60 (0)" in result.stdout
    assert "check_leak" in result.stdout
    assert "Left out: gaps: the data are no table." in result.stdout
    scores = lapsi.load_run("run")
    assert scores.table.index[scores.table["check_leak"] == "split"].tolist() == [0, 1, 2, 60, 61, 62]
    assert (folder / "run" / "overview.png").read_bytes() == pictures
    shown = run("show", "run").stdout.replace("\n", " ")
    assert "Checks: duplicates: 6 samples in 3 sets; leaks: 6 samples: 3 sets across split" in shown
    assert json.loads(run("show", "run", "--json").stdout)["findings"][0]["found"] == 6
    before = scores.table
    assert run("check", "run", "--quiet").stdout == ""
    assert lapsi.load_run("run").table.equals(before)


def test_json_is_one_object_and_another_run_leaves_the_first(folder):
    before = contents(folder / "run")
    told = json.loads(run("check", "run", "--to", "other", "--json").stdout)
    assert {each["check"]: each["found"] for each in told["findings"]}["leaks"] == 6
    assert told["left_out"] == {"gaps": "the data are no table"}
    assert contents(folder / "run") == before
    assert "check_leak" in lapsi.load_run("other").table
    assert "other" in fail(3, "check", "run", "--to", "other")
    assert run("check", "run", "--to", "other", "--force", "--quiet").returncode == 0


def test_changed_data_are_refused_and_nothing_is_written(folder):
    before = contents(folder / "run")
    np.savez("x.npz", **dict(np.load("x.npz")) | {"features": np.ones((N, 12))})
    assert "have changed since the run; score them again" in fail(2, "check", "run", "--quiet")
    assert contents(folder / "run") == before


def test_a_missing_extra_is_told_before_the_data_are_opened(folder, monkeypatch):
    before = contents(folder / "run")
    (folder / "x.npz").unlink()
    monkeypatch.setitem(sys.modules, "cleanlab.datalab.datalab", None)
    assert fail(2, "check", "run").endswith("pip install 'lapsi[check]'.")
    assert contents(folder / "run") == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {}}, "the run was saved from Python, where lapsi.check(scores, X) asks it"),
        ({"factory": "train.py:trained"}, "the run is of a network, and keeps no features of its samples"),
    ],
)
def test_runs_without_features_are_asked_the_rest(folder, change, reason):
    scores = lapsi.load_run("run")
    replace(scores, provenance=replace(scores.provenance, **change)).save("bare")
    result = run("check", "bare", "--json")
    told = json.loads(result.stdout)
    asked = ["label given away", "confused classes", "weak groups", "rare class"]
    assert [each["check"] for each in told["findings"]] == asked
    assert told["left_out"]["duplicates"] == told["left_out"]["outliers"] == reason


def test_pairs_are_refused(folder):
    rng = np.random.default_rng(0)
    np.savez("pairs.npz", image_embeddings=rng.normal(size=(30, 5)), text_embeddings=rng.normal(size=(30, 4)))
    options = ("--epochs", 5, "--verify", 0, "--quiet")
    made = run("score-pairs", "pairs.npz", "-o", "pairs", *options)
    assert made.returncode == 0, made.stderr
    before = contents(folder / "pairs")
    line = fail(2, "check", "pairs", "--quiet")
    assert "No question can be asked of this run" in line
    assert "the run is of pairs" in line
    assert contents(folder / "pairs") == before
