"""Where scores cannot mean much, they say so."""

import json
from dataclasses import replace

import numpy as np

import lapsi
from commands import run
from lapsi.report.page import write_report
from lapsi.results.cautions import cautions
from runs_for_reports import make_scores

QUIET = {"verify": 0, "refine": 0, "progress": False}


def data(n=120, d=4, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d))
    return X, np.where(X[:, 0] + generator.normal(0, 0.3, n) > 0, "up", "down"), generator


def test_nothing_is_said_of_sound_scores():
    X, y, _ = data()
    assert lapsi.score(X, y, **QUIET).cautions == []


def test_labels_that_features_say_nothing_of():
    X, _, generator = data()
    (said,) = lapsi.score(X, generator.permutation(np.repeat(["a", "b"], 60)), weight_decay=1e-3, **QUIET).cautions
    assert "no better than always naming the largest class (50.0%)" in said


def test_a_model_that_knows_its_samples_by_heart():
    X, y, _ = data(d=100, seed=1)
    scores = lapsi.score(X, y, weight_decay=1e-4, **QUIET)
    (said,) = scores.cautions
    assert "training accuracy 100.0%: the model knows its training samples by heart" in said
    accuracy = scores.summary().loc["all", "loo_accuracy"]
    assert f"Leave-one-out accuracy is {accuracy:.1%}" in said


def test_numbers_that_features_say_nothing_of():
    X, _, generator = data(d=20)
    (said,) = lapsi.score(X, generator.normal(size=120), weight_decay=1e-6, **QUIET).cautions
    assert "no better than always naming the mean" in said


def test_a_class_of_one_sample():
    X, y, _ = data()
    y[7] = "once"
    (said,) = lapsi.score(X, y, **QUIET).cautions
    assert said.startswith("A class has one sample only (once)")
    assert lapsi.score(X, y, indices=np.arange(50), **QUIET).cautions == []


def test_a_row_of_garbage():
    X, y, _ = data()
    X[11] = 1000
    said = lapsi.score(X, y, ids=[f"p{row}" for row in range(120)], **QUIET).cautions
    assert any("The features of one sample lie more than 10 times as far" in each and "(p11)" in each for each in said)


def test_cautions_are_told_everywhere(tmp_path):
    scores = make_scores(60, n_classes=3)
    scores.map[5] = 1e6
    (said,) = cautions(scores)
    assert f"Caution: {said}" in repr(scores)
    assert said in scores._repr_html_()
    write_report(scores, tmp_path / "run.html")
    assert said in (tmp_path / "run.html").read_text(encoding="utf-8")
    scores.save(tmp_path / "run")
    assert "Caution: The features of one sample" in run("show", tmp_path / "run").stdout
    assert '"cautions": [' in run("show", tmp_path / "run", "--json").stdout


def test_doubted_labels_repeat_them(tmp_path):
    scores = make_scores(60, n_classes=3)
    scores.map[5] = 1e6
    (said,) = cautions(scores)
    found = scores.issues()
    assert found.cautions == [said]
    assert f"Caution: {said}" in repr(found)
    assert said in found._repr_html_()
    scores.save(tmp_path / "run")
    assert "Caution: The features of one sample" in run("issues", tmp_path / "run").stdout
    assert json.loads(run("issues", tmp_path / "run", "--json").stdout)["cautions"] == [said]


def test_few_samples_say_nothing_of_shares():
    few = make_scores(19, n_classes=2)
    few.map[3] = 1e6
    assert cautions(few) == []


def test_networks_that_stand_at_no_optimum_or_rank_otherwise():
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    scores = lapsi.score(X + y[:, None], y, verify=0, progress=False)
    told = scores.provenance
    assert scores.cautions == []
    far = replace(told, plan=told.plan | {"unconverged": 3.0})
    (said,) = replace(scores, provenance=far).cautions
    assert said.startswith("The weights are 3.0e+00 nats from an optimum, and a sample moves them by ")
    near = replace(told, plan=told.plan | {"unconverged": 1e-12})
    assert replace(scores, provenance=near).cautions == []
    checked = {"reference": "trained on", "spearman": 0.89, "rows": [0, 1, 2, 3]}
    (said,) = replace(scores, provenance=replace(told, verification=checked)).cautions
    assert said.startswith("The ranking of this run is not to be trusted: among 4 samples")
    assert "--weight-decay (in Python objective=lapsi.ObjectiveSpec(weight_decay=" in said
    for sound in (0.9, None, float("nan")):
        assert replace(scores, provenance=replace(told, verification=checked | {"spearman": sound})).cautions == []
