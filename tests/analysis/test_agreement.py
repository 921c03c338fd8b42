import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import pearsonr, spearmanr

import lapsi
from commands import run
from lapsi.analysis.agreement import compare


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    X = rng.normal(size=(200, 5)) + np.eye(3, 5)[y]
    first = lapsi.score(X, y, verify=0, progress=False)
    second = lapsi.score(X, y, verify=0, curvature="kfac", indices=np.arange(50, 200), progress=False)
    return first, second


def test_samples_are_matched_by_id(runs):
    first, second = runs
    agreement = compare(first, second)
    a, b = first.lsi[50:], second.lsi
    assert agreement.n_common == 150
    assert agreement.same_data
    assert_allclose(agreement.spearman, spearmanr(a, b).statistic)
    assert_allclose(agreement.pearson, pearsonr(a, b).statistic)
    assert_allclose(agreement.pearson_log, pearsonr(np.log(a), np.log(b)).statistic)
    top_a, top_b = set(np.argsort(-a)[:15]), set(np.argsort(-b)[:15])
    assert agreement.top_shared == {
        0.01: float(np.mean(np.isin(np.argsort(-a)[:2], np.argsort(-b)[:2]))),
        0.1: len(top_a & top_b) / 15,
    }
    rank_a, rank_b = np.argsort(np.argsort(-a)), np.argsort(np.argsort(-b))
    assert abs(agreement.table["rank_a"] - agreement.table["rank_b"]).iloc[0] == abs(rank_a - rank_b).max()
    row = agreement.table.iloc[0]
    assert (row["lsi_a"], row["lsi_b"]) == (first.lsi[int(row["id"])], second.lsi[int(row["id"]) - 50])


def test_a_run_agrees_with_itself(runs):
    agreement = compare(runs[0], runs[0])
    assert_allclose([agreement.spearman, agreement.pearson, agreement.pearson_log], 1.0)
    assert set(agreement.top_shared.values()) == {1.0}
    assert agreement.regularization == {}


def test_another_regularisation_is_told(runs, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    options = {"verify": 0, "progress": False}
    first = lapsi.score(X, y, weight_decay=0.3, standardize="each", **options)
    second = lapsi.score(X, y, weight_decay=0.02, standardize="one", **options)
    differing = {"weight decay": (0.3, 0.02), "scaling of the features": ("each", "one")}
    assert compare(first, second).regularization == differing
    a, b = first.save(tmp_path / "a"), second.save(tmp_path / "b")
    told = " ".join(run("compare", a, b).stdout.split())
    assert "weight decay 0.3 (a), 0.02 (b); scaling of the features each (a), one (b)" in told
    assert json.loads(run("compare", a, b, "--json").stdout)["regularization"]["weight decay"] == [0.3, 0.02]
    assert "regularisation differs" not in run("compare", a, a).stdout


def test_runs_without_common_samples_are_refused(runs):
    rng = np.random.default_rng(1)
    ids = [f"s{i}" for i in range(40)]
    other = lapsi.score(rng.normal(size=(40, 2)), np.arange(40) % 2, ids=ids, verify=0, progress=False)
    with pytest.raises(lapsi.InputError, match="ids of the two runs are of different types"):
        compare(runs[0], other)
    few = lapsi.score(rng.normal(size=(40, 2)), np.arange(40) % 2, ids=np.arange(198, 238), verify=0, progress=False)
    with pytest.raises(lapsi.InputError, match="2 samples in common"):
        compare(runs[0], few)
    assert not compare(runs[0], lapsi.score(rng.normal(size=(40, 2)), np.arange(40) % 2, verify=0, progress=False)).same_data
