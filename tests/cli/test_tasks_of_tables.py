"""Numbers, several labels and weights from the command line, and what cannot be scored: one line, nothing written."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import lapsi
from commands import fail, run
from documents import one_thread

N = 40
QUICK = ("--verify", 4)


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.normal(size=(N, 4)), columns=["f_a", "f_b", "f_c", "f_d"])
    price = features.to_numpy() @ [2.0, -1.0, 0.5, 0.0] + 0.3 * rng.normal(size=N)
    known = {
        "price": price,
        "rent": price / 2 + rng.normal(size=N),
        "weight": rng.uniform(0.5, 2, N),
        "tags": np.where(price > 0.5, "red|big", np.where(price > -0.5, "big", "old")),
        "red": (price > 0).astype(int),
        "old": (price < 0.5).astype(int),
        "same": 3.5,
        "none": 0.0,
        "group": np.arange(N) // 4,
    }
    features.assign(**known).to_csv("table.csv", index=False)
    with one_thread():
        yield


def score(*arguments):
    run("score", "table.csv", "--feature-prefix", "f_", *QUICK, *arguments, "-q")


def table():
    return pd.read_csv("table.csv")


def test_a_column_of_numbers_is_regression():
    score("--labels", "price", "--weights", "weight", "--group", "group", "-o", "run")
    scores = lapsi.Scores.load("run")
    data = table()
    expected = lapsi.score(
        data[["f_a", "f_b", "f_c", "f_d"]], data["price"], sample_weight=data["weight"], progress=False, verify=4
    )
    assert scores.task == "regression"
    assert_allclose(scores.lsi, expected.lsi, rtol=1e-9)
    out = run("groups", "run", "--leave-group-out", "--json").stdout
    assert all(-5 < row["held_out_r2"] <= 1 for row in json.loads(out))


def test_several_columns_are_several_targets():
    score("--labels", "price,rent", "--noise-variance", "0.1,1", "-o", "run")
    scores = lapsi.Scores.load("run")
    assert list(scores.outputs) == ["price", "rent"]
    assert scores.provenance.settings["objective"]["noise_variance"] == [0.1, 1.0]
    assert_allclose(scores.table["label_rent"], table()["rent"])
    score("--labels", "red, old", "-o", "labels")
    assert lapsi.Scores.load("labels").task == "multilabel"


def test_texts_are_several_labels_where_it_is_asked_for():
    score("--labels", "tags", "-o", "classes")
    score("--labels", "tags", "--task", "multilabel", "-o", "run")
    assert lapsi.Scores.load("classes").task == "classes"
    assert list(lapsi.Scores.load("run").outputs) == ["big", "old", "red"]


def test_the_cost_of_retraining_on_numbers_is_told_before_their_noise_is_known():
    told = run("score", "table.csv", "--feature-prefix", "f_", "--labels", "price", "--epochs", 5, "--hidden", 3, "--dry-run")
    assert told.returncode == 0
    assert "models at once" in told.stdout


def test_what_is_shown_has_words_of_its_own():
    score("--labels", "price", "-o", "run")
    shown = run("show", "run").stdout.lower()
    for word in ("r²", "target", "prediction", "deviation"):
        assert word in shown
    for word in ("class", "accuracy 1", "accuracy 9", "label", "probability"):
        assert word not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "price", "--task", "classes"), "continuous numbers"),
        (("--labels", "tags", "--task", "regression"), "not all numbers"),
        (("--labels", "price", "--task", "multilabel"), "other values than 0 and 1"),
        (("--labels", "same", "--task", "regression"), "'target' is 3.5 for every sample"),
        (("--labels", "price", "--noise-variance", "0"), "noise_variance is (0.0,)"),
        (("--labels", "price", "--noise-variance", "much"), "--noise-variance is 'much'; expected residuals, numbers"),
        (("--labels", "price", "--noise-variance", "1,2"), "noise_variance has 2 values for 1 outputs"),
        (("--labels", "price", "--weights", "none"), "0 weights are positive"),
        (("--labels", "price", "--weights", "heft"), "no weights named 'heft'"),
        (("--labels", "price", "--weights", "tags"), "weights are of type"),
        (("--labels", "price,size"), "no labels named 'size'"),
        (("--labels", "red,old,none"), "No sample has the label 'none'"),
        (("--labels", "price", "--class-weight", "balanced"), "task 'regression'; expected classes"),
        (("--labels", "price", "--flip-labels", "0.1"), "task 'regression'; expected classes"),
        (("--labels", "red", "--noise-variance", "2"), "noise_variance was given, but the targets are those of task 'classes'"),
    ],
)
def test_what_fits_no_task_is_one_line_and_writes_nothing(options, message):
    said = fail(2, "score", "table.csv", "--feature-prefix", "f_", *options, "-o", "run", "-q")
    assert message in " ".join(said.split())
    assert not Path("run").exists()
