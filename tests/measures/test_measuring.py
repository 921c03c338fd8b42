"""Other measures in the columns of a run, from Python and from the command line."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn.datasets import load_iris

import lapsi
from commands import run
from lapsi import plots
from lapsi.analysis.agreement import rank_correlations
from lapsi.measures.base import Labelled
from lapsi.measures.choose import MEASURES

X, Y = load_iris(return_X_y=True)
QUIET = {"verify": 0, "progress": False}


@pytest.fixture(scope="module")
def scores():
    return lapsi.score(X, Y, weight_decay=0.01, standardize="each", **QUIET)


def test_measures_are_columns_beside_lsi(scores, tmp_path):
    both = lapsi.measure(scores, X, Y, ["psmi", "sui"], progress=False)
    assert list(both.table) == [*scores.table, "psmi", "psmi_error", "sui", "sui_outputs"]
    assert {name: list(origin["seconds"]) for name, origin in both.provenance.measures.items()} == {
        "psmi": ["psmi"],
        "sui": ["sui"],
    }
    inputs = np.c_[(X - X.mean(0)) / X.std(0), np.ones(len(X))]
    one_hot, ridge = np.eye(3)[Y], 0.01 * len(X) * np.eye(5)
    whole = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ one_hot)
    rest = np.delete(np.arange(len(X)), 70)
    moved = np.linalg.solve(inputs[rest].T @ inputs[rest] + ridge, inputs[rest].T @ one_hot[rest]) - whole
    assert both.table["sui"][70] == pytest.approx(np.square(moved).sum(), rel=1e-9)
    again = lapsi.load_run(both.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(again.table, both.table)
    assert [column.title for column in again.columns[-2:]] == ["SUI", "SUI, outputs"]


def test_only_what_was_scored_is_measured_of_all_the_data(scores):
    some = lapsi.score(X, Y, weight_decay=0.01, standardize="each", indices=[100, 3], **QUIET)
    few, all_of_them = (lapsi.measure(each, X, Y, "trak", progress=False).table for each in (some, scores))
    assert_allclose(few["trak"], all_of_them["trak"][[100, 3]], rtol=1e-12)


def test_all_measures_are_those_that_the_probe_has(scores, monkeypatch):
    seen = []
    for name, measure in MEASURES.items():
        zeros = {column.name: np.zeros(len(X)) for column in measure.columns}
        monkeypatch.setattr(
            measure, "compute", lambda self, data, advance, name=name, zeros=zeros: seen.append((name, data)) or zeros
        )
    lapsi.measure(scores, X, Y, progress=False)
    assert [name for name, _ in seen] == list(MEASURES)
    assert all(isinstance(data, Labelled) for _, data in seen)
    seen.clear()
    deep = lapsi.score(X, Y, hidden=(4,), recipe=lapsi.Recipe(epochs=2, seeds=1), indices=[0], **QUIET)
    lapsi.measure(deep, X, Y, progress=False)
    assert [name for name, _ in seen] == ["el2n", "grand", "forgetting", "psmi"]
    with pytest.raises(lapsi.InputError, match="sui is of the linear probe"):
        lapsi.measure(deep, X, Y, "sui", progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s, X + 1, Y, "sui"), "not those of the run"),
        (lambda s: (lapsi.measure(s, X, Y, "sui", progress=False), X, Y, "sui"), "has the column 'sui' already"),
        (lambda s: (s, X, Y, "psi"), "expected some of"),
        (lambda s: (lapsi.score(X, X[:, 0], **QUIET), X, Y, "sui"), "task 'regression'"),
        (
            lambda s: (lapsi.score(X, Y, class_weight="balanced", sample_weight=Y + 1, **QUIET), X, Y, "sui"),
            "weights|not those",
        ),
    ],
)
def test_what_cannot_be_measured_is_told(scores, change, message):
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.measure(*change(scores), progress=False)


def test_measures_are_asked_for_with_the_scores(scores):
    both = lapsi.score(X, Y, weight_decay=0.01, standardize="each", measures=("lsi", "sui"), **QUIET)
    pd.testing.assert_frame_equal(both.table, lapsi.measure(scores, X, Y, "sui", progress=False).table)
    with pytest.raises(lapsi.InputError, match="'psi'; expected some of"):
        lapsi.score(X, Y, measures=("psi",), **QUIET)
    with pytest.raises(lapsi.InputError, match="task 'regression'"):
        lapsi.score(X, X[:, 0], measures=("psmi",), **QUIET)


def test_rank_correlations_and_their_picture(scores):
    both = lapsi.measure(scores, X, Y, ["psmi", "sui"], progress=False)
    found = rank_correlations(both)
    assert list(found) == list(found.index) == ["lsi", "psmi", "sui", "sui_outputs"]
    assert found.loc["psmi", "lsi"] == pytest.approx(spearmanr(both.table["psmi"], both.lsi)[0], abs=1e-12)
    axes = plots.measures(both)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["LSI", "PSMI", "SUI", "SUI, outputs"]
    assert_allclose(axes.images[0].get_array(), found)
    written = [float(text.get_text().replace("\N{MINUS SIGN}", "-")) for text in axes.texts]
    assert_allclose(written, found.to_numpy().ravel(), atol=0.005 + 1e-12)
    with pytest.raises(lapsi.InputError, match="no measure beside LSI"):
        rank_correlations(scores)


def test_measures_are_added_to_a_run_of_the_command_line(tmp_path):
    path = tmp_path / "run"
    np.savez(tmp_path / "iris.npz", features=X, labels=Y)
    run("score", tmp_path / "iris.npz", "-o", path, "-q", "--verify", 0)
    run(
        "score",
        tmp_path / "iris.npz",
        "-o",
        tmp_path / "at-once",
        "-q",
        "--verify",
        0,
        "--measures",
        "sui",
        "--measures",
        "psmi",
    )
    before, picture = lapsi.load_run(path), (path / "overview.png").read_bytes()
    told = run("measure", path, "--add", "sui", "--add", "psmi")
    assert told.returncode == 0
    assert "sui_outputs" in told.stdout
    both = lapsi.load_run(path)
    pd.testing.assert_frame_equal(both.table[list(before.table)], before.table)
    assert list(both.provenance.measures) == ["sui", "psmi"]
    pd.testing.assert_frame_equal(lapsi.load_run(tmp_path / "at-once").table, both.table)
    assert (path / "overview.png").read_bytes() == picture
    assert json.loads(run("compare", path, "--measures", "--json").stdout).keys() == {"lsi", "psmi", "sui", "sui_outputs"}
    assert run("plot", "measures", path, "-o", tmp_path / "measures.png").returncode == 0
    assert run("measure", path, "--add", "el2n", "--to", tmp_path / "other", "-q").returncode == 0
    assert "el2n" in lapsi.load_run(tmp_path / "other").table
    assert "el2n" not in lapsi.load_run(path).table
    refused = run("measure", path, "--add", "sui")
    assert (refused.returncode, "already" in refused.stderr) == (2, True)
    assert run("compare", path).returncode == run("compare", path, path, "--measures").returncode == 2


def test_a_network_has_no_such_measures(scores):
    settings = lapsi.settings.network.NetworkSettings().to_dict()
    with pytest.raises(lapsi.InputError, match="of no probe"):
        lapsi.measure(replace(scores, provenance=replace(scores.provenance, settings=settings)), X, Y, progress=False)
