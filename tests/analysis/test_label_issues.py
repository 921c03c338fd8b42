"""Label issues, groups, and handing the evidence to cleanlab."""

import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score

import lapsi
from lapsi.analysis.groups import roll_up
from lapsi.analysis.label_issues import label_issues
from lapsi.data.corruption import corrupt_dataset
from lapsi.data.dataset import make_dataset
from lapsi.settings.corruption import Corruption


@pytest.fixture(scope="module")
def scores():
    """Digits with a tenth of the labels flipped; the digits stand for contributors too."""
    X, y = load_digits(return_X_y=True)
    names = np.array([f"digit {digit}" for digit in range(10)])
    data = corrupt_dataset(make_dataset(X, names[y]), Corruption(flip_labels=0.1))
    columns = data.columns.assign(group=np.where(np.arange(len(y)) < 900, "ann", "bob"))
    return lapsi.score(X, data.classes[data.labels], columns=columns, refine=0, verify=0, progress=False)


def test_ranking_and_threshold(scores):
    found = label_issues(scores)
    table = found.table
    assert len(table) == 1797
    assert table["label_quality"].is_monotonic_increasing
    assert found.threshold == pytest.approx(0.1)
    assert_array_equal(table["flagged"], table["label_quality"] < 0.1)
    assert found.n_flagged == table["flagged"].sum() > 0
    flagged = table[table["flagged"]]
    assert flagged["suggested_label"].notna().all()  # who gives a label less than 1/C prefers another
    by_id = scores.to_pandas().set_index("id").loc[table["id"]]
    np.testing.assert_allclose(table["suggested_probability"], scores.loo_proba[table["id"]].max(1))
    assert_array_equal(by_id["corrupted"].to_numpy(), table["corrupted"])
    assert label_issues(scores, 0.5).n_flagged > found.n_flagged
    assert label_issues(scores, 0.0).n_flagged == 0


def test_numpy_scalars_are_thresholds(scores):
    threshold = label_issues(scores, np.float32(0.25)).threshold
    assert (type(threshold), threshold) == (float, 0.25)


def test_against_the_truth(scores):
    found, table = label_issues(scores).found, scores.to_pandas()
    wrong = (table["label"] != table["original_label"]).to_numpy()
    assert found.truth == "original_label"
    assert found.n_errors == wrong.sum() == 180
    assert found.auroc == pytest.approx(roc_auc_score(wrong, -table["label_quality"]))
    assert found.average_precision == pytest.approx(average_precision_score(wrong, -table["label_quality"]))
    assert found.auroc > 0.97
    first = np.argsort(table["label_quality"].to_numpy())[:180]
    assert found.at_noise_rate == pytest.approx(wrong[first].mean())
    flagged = (table["label_quality"] < 0.1).to_numpy()
    assert found.precision == pytest.approx(wrong[flagged].mean())
    assert found.recall == pytest.approx(flagged[wrong].mean())
    hits = table[flagged & wrong]
    assert found.suggestions_right == pytest.approx((hits["suggested_label"] == hits["original_label"]).mean())


def test_reference_labels_are_a_truth_too(scores):
    table = scores.to_pandas()
    renamed = lapsi.Scores(
        table.drop(columns=["corrupted", "corruption"]).rename(columns={"original_label": "reference_label"}),
        scores.loo_proba,
        scores.classes,
        scores.provenance,
    )
    found = label_issues(renamed).found
    assert found.truth == "reference_label"
    assert found.auroc == label_issues(scores).found.auroc
    bare = lapsi.Scores(table.drop(columns=scores.carried), scores.loo_proba, scores.classes, scores.provenance)
    assert label_issues(bare).found is None
    with pytest.raises(lapsi.InputError, match="threshold is 1.5; expected a probability"):
        label_issues(scores, 1.5)


def test_cleanlab_takes_the_evidence_as_it_is(scores):
    wrong = scores.table["corrupted"].to_numpy()
    issues = find_label_issues(scores.label_codes, scores.loo_proba)
    assert_array_equal(scores.classes[scores.label_codes], scores.table["label"])
    assert issues.shape == (1797,)
    assert wrong[issues].mean() > 0.8
    assert issues[wrong].mean() > 0.8


def test_roll_up(scores):
    table = scores.to_pandas()
    for by, column in ((None, "group"), ("label", "label"), ("corruption", "corruption")):
        rows = roll_up(scores, by)
        assert rows.index.name == column
        assert rows["lsi_sum"].is_monotonic_decreasing
        np.testing.assert_allclose(
            [rows["samples"].sum(), rows["lsi_sum"].sum(), rows["share_of_lsi"].sum()], [1797, table["lsi"].sum(), 1]
        )
        for name, row in rows.iterrows():
            part = table[table[column].isna()] if name == "(none)" else table[table[column] == name]
            top = table.nlargest(180, "lsi")["id"]
            expected = [part["lsi"].sum(), part["lsi"].mean(), part["lsi"].median(), part["id"].isin(top).mean()]
            np.testing.assert_allclose(row[["lsi_sum", "lsi_mean", "lsi_median", "top_decile"]].astype(float), expected)
            assert row["doubted"] == (part["label_quality"] < 0.1).sum()
    assert roll_up(scores, "corruption").index.tolist() in (["(none)", "flipped label"], ["flipped label", "(none)"])
    with pytest.raises(lapsi.InputError, match="no column 'who' to group by; it has label, original_label"):
        roll_up(scores, "who")


def test_columns_travel_and_survive_a_save(scores, tmp_path):
    scores.save(tmp_path / "run")
    again = lapsi.load_run(tmp_path / "run")
    pd.testing.assert_frame_equal(again.table, scores.table, check_dtype=False)
    assert again.carried == ["original_label", "corrupted", "corruption", "group"]
    assert_array_equal(again.map, scores.map)
    assert_array_equal(again.label_codes, scores.label_codes)
    X, y = load_digits(return_X_y=True)
    with pytest.raises(lapsi.InputError, match="named 'lsi', as one of the scores is"):
        lapsi.score(X, y, columns={"lsi": y}, progress=False)
    with pytest.raises(lapsi.InputError, match="1797 samples but 3 values of 'group'"):
        lapsi.score(X, y, columns={"group": [1, 2, 3]}, progress=False)


def test_map_is_the_first_two_principal_components(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 5
    scores = lapsi.score(X, np.arange(60) % 2, standardize="each", verify=0, progress=False)
    inputs = (X - X.mean(0)) / X.std(0)
    u, s, _ = np.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
    for axis in range(2):
        expected = u[:, axis] * s[axis]
        np.testing.assert_allclose(np.abs(scores.map[:, axis]), np.abs(expected), atol=1e-4)
    monkeypatch.setattr("lapsi.data.blocks.WIDEST_SCATTER", 0)  # as for features too many to multiply with each other
    wide = lapsi.score(X, np.arange(60) % 2, standardize="each", verify=0, progress=False).map
    np.testing.assert_allclose(wide, scores.map, atol=1e-2)
    monkeypatch.undo()
    flat = lapsi.score(X[:, :1], np.arange(60) % 2, verify=0, progress=False).map
    assert_array_equal(flat[:, 1], 0)
