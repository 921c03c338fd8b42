"""Each question on data whose answer is known, through `lapsi.check`."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import lapsi
from lapsi.analysis.checks import datalab
from lapsi.analysis.checks.told import found, in_a_line, record_of

N = 150
QUIET = {"verify": 0, "progress": False, "weight_decay": 0.01, "standardize": "each"}
pytestmark = pytest.mark.slow  # Datalab takes seconds to load


def blobs(n=N, n_classes=3, d=16, seed=0):
    """Features in well apart classes, and the classes, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    return rng.normal(size=(n, d)) + 3 * np.eye(n_classes, d)[labels], labels


def checked(X, y, **options):
    return lapsi.check(lapsi.score(X, y, **QUIET, **options), X, y, progress=False)


def finding(scores, title):
    return lapsi.findings(scores).set_index("check").loc[title]


def by_hand(X):
    """Which samples Datalab calls near duplicates: nearer than 0.13 of the median distance (cosine) to a neighbour."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    np.fill_diagonal(distance, np.inf)
    return distance < 0.13 * np.median(distance.min(1))


def test_duplicates_are_those_that_are_near_by_hand():
    X, y = blobs()
    X[20:25] = X[:5]
    X[30:34] = X[10:14] * (1 + 1e-5)
    y[20:25], y[30:34] = y[:5], y[10:14]
    y[21] = (y[1] + 1) % 3
    y[31] = (y[11] + 1) % 3
    scores = checked(X, y)
    near = by_hand(X)
    assert_array_equal(scores.table["check_duplicate_set"] > 0, near.any(1) | near.any(0))
    kinds = scores.table["check_duplicate"]
    assert kinds[[1, 21, 11, 31, 0, 20]].tolist() == ["exact, labels differ"] * 2 + ["near, labels differ"] * 2 + ["exact"] * 2
    assert kinds[[10, 30]].tolist() == ["near", "near"]
    assert scores.table["check_duplicate_set"][[1, 21]].tolist() == [1, 1]
    assert finding(scores, "duplicates")["examples"][0] == f"1 ({y[1]}) = 21 ({y[21]})"
    assert finding(scores, "duplicates")["examples"][1] == f"11 ({y[11]}) ≈ 31 ({y[31]})"
    assert (scores.table["check_duplicate_score"][[0, 20]] == 0).all()


def test_leaks_are_sets_that_cross_a_split_or_a_group():
    X, y = blobs()
    X[100:104], y[100:104] = X[:4], y[:4]
    split = np.where(np.arange(N) < 100, "train", "test").astype(object)
    group = (np.arange(N) % 30).astype(str)
    group[[100, 101]], split[101], split[103] = group[[0, 1]], "train", None
    scores = checked(X, y, columns={"split": split, "group": group})
    told = scores.table["check_leak"]
    assert told[[0, 100, 2, 102, 3, 103]].tolist() == ["split"] * 2 + ["split, group"] * 2 + ["group"] * 2
    assert told[[1, 101]].isna().all()
    assert told.notna().sum() == 6
    assert told.notna().sum() == found(scores)["leaks"].sum()
    assert "across split" in finding(scores, "leaks")["said"]


def test_samples_far_from_all_others_are_outliers():
    X, y = blobs()
    X[:3] = -4 * np.eye(3, 16)
    scores = checked(X, y)
    assert scores.table["check_outlier"][:3].all()
    assert set(np.argsort(scores.table["check_outlier_score"])[:3]) == {0, 1, 2}


def test_sorted_data_have_an_order_and_shuffled_ones_have_none():
    X, y = blobs(300)
    assert finding(checked(X, y), "order")["found"] == 0
    order = np.argsort(y)
    scores = checked(X[order], y[order])
    assert finding(scores, "order")["found"] == scores.table["check_order"].sum() == 30
    assert "p < 0.001" in finding(scores, "order")["said"]


def test_a_class_below_a_tenth_of_its_share_is_rare():
    X, y = blobs(400)
    y = np.where(np.arange(400) < 8, 12, y)  # "12" stands before "2" in the order of letters
    scores = checked(X, y)
    assert_array_equal(scores.table["check_rare_class"], y == 12)
    assert finding(scores, "rare class")["said"] == "class 12: 8 samples, 2.00%"
    assert finding(checked(*blobs()), "rare class")["found"] == 0


def test_a_group_with_wrong_labels_is_weak():
    X, y = blobs(200)
    group = np.where(np.arange(200) < 30, "tired", "awake")
    y = np.where(np.arange(200) < 24, (y + 1) % 3, y)
    scores = checked(X, y, columns={"group": group})
    weak = (scores.table["check_weak_group"] == "group tired").fillna(False).to_numpy(bool)
    assert_array_equal(weak, group == "tired")
    quality = scores.table["loo_probability"]
    share = quality[group == "tired"].mean() / quality.mean()
    assert_array_equal(scores.table["check_weak_group_score"][weak] <= share * (1 + 1e-6), True)
    assert any(
        each.startswith(f"group tired ({share:.0%} of the mean, 30)") for each in finding(scores, "weak groups")["examples"]
    )


def test_clusters_of_features_are_groups_too():
    X, y = blobs(300)
    X[:40, 3:5] += 12
    y[:40] = np.random.default_rng(5).integers(3, size=40)
    scores = checked(X, y)
    weak = scores.table["check_weak_group"].fillna("").str.startswith("cluster")
    assert weak[:40].mean() > 0.9
    assert weak[40:].mean() < 0.05


def test_features_and_groups_that_tell_the_label_are_named():
    X, y = blobs()
    X[:, 5] = y + np.random.default_rng(1).normal(size=N) / 100
    clinic = np.array(["north", "south", "west"])[y]
    scores = checked(X, y, columns={"group": clinic})
    told = finding(scores, "label given away")
    assert (told["found"], set(told["examples"])) == (2, {"group (100.0%)", "feature 5 (100.0%)"})
    assert scores.table["check_given_away"].isin(["group", "feature 5"]).all()
    many = finding(checked(*blobs(), columns={"group": np.arange(N) // 2}), "label given away")
    assert many["found"] == 0


def test_classes_that_overlap_are_confused():
    X, y = blobs(300, 4)
    X[y == 3] -= 3 * np.eye(16)[3] - 3 * np.eye(16)[0]  # where class 0 lies
    scores = checked(X, y)
    told = finding(scores, "confused classes")
    wrong = scores.table["label"] != scores.table["loo_label"]
    pair = set(map(tuple, scores.table.loc[wrong, ["label", "loo_label"]].to_numpy()))
    assert told["examples"][0].startswith("0 / 3: ")
    assert {(0, 3), (3, 0)} <= pair
    assert (scores.table.loc[scores.table["check_confused"] == "0 / 3", "label"].isin([0, 3])).all()
    assert (scores.table["check_confused"].notna() <= wrong).all()


def test_gaps_of_a_table_are_counted():
    X, y = blobs(120)
    frame = pd.DataFrame(X[:, :3], columns=["age", "height", "weight"])
    frame["town"] = np.array(["Ulm", "Bonn", "Kiel"])[np.random.default_rng(0).integers(3, size=120)]
    frame.loc[:9, "age"] = np.nan
    frame.loc[5:6, "town"] = None
    scores = checked(frame, y)
    expected = frame.isna().mean(axis=1)
    np.testing.assert_allclose(scores.table["check_gaps"], expected, atol=1e-15)
    assert finding(scores, "gaps")["said"] == "12 gaps in 10 samples; most in age 10, town 2"
    words = frame.assign(town=frame["town"].fillna("NA"))
    assert finding(checked(words, y), "gaps")["said"] == finding(scores, "gaps")["said"]
    alone = lapsi.check(lapsi.score(frame, y, **QUIET), frame, progress=False)
    pd.testing.assert_frame_equal(alone.table, scores.table)


def test_columns_of_a_table_are_compared_on_one_scale():
    X, y = blobs(120)
    frame = pd.DataFrame({"metres": X[:, 0], "euros": 1e6 * X[:, 1], "kind": np.where(X[:, 2] > 0, "a", "b"), "grams": X[:, 3]})
    frame.loc[7, ["euros", "kind"]] = frame.loc[3, ["euros", "kind"]]
    frame.loc[7, ["metres", "grams"]] = [50.0, -50.0]
    scores = checked(frame, y)
    assert scores.table["check_outlier"][7]
    assert scores.table["check_duplicate"].isna()[7]


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_targets_are_asked_what_needs_no_classes(task):
    X, y = blobs()
    X[20:22] = X[:2]
    target = X[:, 0] if task == "regression" else np.array(["a|b", "b", "a"])[y]
    scores = checked(X, target, **({"task": task} if task == "multilabel" else {}))
    assert lapsi.findings(scores)["check"].tolist() == ["duplicates", "outliers", "order"]
    assert (scores.table["check_duplicate_set"][[0, 20]] > 0).all()
    assert {"rare class", "weak groups", "confused classes", "label given away"} <= set(record_of(scores).left_out)


def test_without_features_only_what_needs_none_is_asked_and_nothing_found_before_is_lost():
    X, y = blobs()
    X[20:22] = X[:2]
    plain = lapsi.score(X, y, **QUIET)
    few = lapsi.check(plain, progress=False)
    assert lapsi.findings(few)["check"].tolist() == ["confused classes", "rare class"]
    assert record_of(few).left_out["outliers"] == "the features were not given"
    both = lapsi.check(lapsi.check(plain, X, progress=False), progress=False)
    assert set(lapsi.findings(both)["check"]) >= {"duplicates", "outliers", "order", "rare class"}
    pd.testing.assert_frame_equal(
        both.table[sorted(both.table)], lapsi.check(plain, X, progress=False).table[sorted(both.table)]
    )


def test_a_run_of_some_samples_is_checked_on_these(tmp_path):
    X, y = blobs()
    X[20:22] = X[:2]
    scores = lapsi.score(X, y, indices=[20, 0, *range(40, 120)], **QUIET)
    again = lapsi.check(scores, X, y, progress=False)
    assert (again.table["check_duplicate_set"] > 0).tolist() == again.table["id"].isin([0, 20]).tolist()
    pd.testing.assert_frame_equal(lapsi.check(scores, X, progress=False).table, again.table)
    loaded = lapsi.load_run(again.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(loaded.table, again.table)
    assert in_a_line(loaded) == in_a_line(again)
    assert in_a_line(again).startswith("duplicates: 2 samples in 1 set")


def test_weights_belong_to_the_data():
    X, y = blobs()
    weights = 1 + (np.arange(N) % 2)
    scores = lapsi.score(X, y, sample_weight=weights, **QUIET)
    assert lapsi.check(scores, X, y, sample_weight=weights, progress=False).table["check_outlier"].dtype == bool
    with pytest.raises(lapsi.InputError, match="not those of the run"):
        lapsi.check(scores, X, y, progress=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda X, y: (X + 1, y), "not those of the run"),
        (lambda X, y: (X[:, :4],), r"shape \(150, 4\), but the run is of 150 samples with 16 features"),
        (lambda X, y: (X[:-1],), r"shape \(149, 16\)"),
    ],
)
def test_other_data_are_refused(data, message):
    X, y = blobs()
    scores = lapsi.score(X, y, **QUIET)
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.check(scores, *data(X, y), progress=False)


def test_rows_that_cannot_be_told_apart_are_refused():
    X, y = blobs(40)
    scores = lapsi.score(X, y, **QUIET)
    some_unread = replace(scores, provenance=replace(scores.provenance, n_source=41))
    with pytest.raises(lapsi.InputError, match="could not be read"):
        lapsi.check(some_unread, X, progress=False)


def test_a_missing_extra_is_one_line(monkeypatch):
    X, y = blobs(40)
    scores = lapsi.score(X, y, **QUIET)
    monkeypatch.setitem(sys.modules, "cleanlab.datalab.datalab", None)
    with pytest.raises(lapsi.InputError, match=r"pip install 'lapsi\[check\]'") as caught:
        lapsi.check(scores, X, progress=False)
    assert "\n" not in str(caught.value)


def test_what_datalab_cannot_tell_is_left_out_with_its_reason(monkeypatch):
    X, y = blobs(60)
    scores = lapsi.score(X, y, **QUIET)

    def fails(self, **_):
        raise ValueError("singular\nmatrix.")

    manager = sys.modules["cleanlab.datalab.internal.issue_manager.outlier"].OutlierIssueManager
    monkeypatch.setattr(manager, "find_issues", fails)
    checked_ = lapsi.check(scores, X, progress=False)
    assert record_of(checked_).left_out["outliers"] == "cleanlab: singular"
    assert "check_outlier" not in checked_.table
    assert "check_duplicate" in checked_.table


@pytest.mark.parametrize("n", [3, 5, 9, 12])
def test_few_samples_are_checked_or_left_out(n):
    X, y = blobs(n, seed=1)
    y[:2] = [0, 1]
    told = record_of(lapsi.check(lapsi.score(X, y, **QUIET), X, progress=False))
    assert told.left_out["label given away"] == "there are fewer than 30 samples"
    assert {each.check for each in told.findings} >= {"rare class", "confused classes"}


def test_equal_samples_and_constant_features_are_checked():
    X, y = blobs(60)
    X[:, 2] = 1.0
    X[:40] = X[0]
    scores = checked(X, y)
    assert (scores.table["check_duplicate_set"][:40] == 1).all()
    assert scores.table["check_duplicate"][:40].str.startswith("exact").all()


def test_the_global_generator_is_left_as_it_was():
    X, y = blobs(60)
    scores = lapsi.score(X, y, **QUIET)
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.RandomState(7).random()
    lapsi.check(scores, X, progress=False)
    assert np.random.random() == expected  # noqa: NPY002


def test_nothing_is_printed(capsys):
    datalab.of_features(blobs(60)[0])
    assert capsys.readouterr() == ("", "")


def test_a_run_that_can_be_asked_nothing_is_refused():
    X, y = blobs(60)
    scores = lapsi.score(X, X[:, 0] + y, **QUIET)
    with pytest.raises(lapsi.InputError, match="No question can be asked of this run"):
        lapsi.check(scores, progress=False)


def test_a_column_of_the_name_is_no_check(tmp_path):
    X, y = blobs(60)
    scores = lapsi.score(X, y, columns={"check_outlier": np.arange(60)}, **QUIET)
    with pytest.raises(lapsi.InputError, match="has a column 'check_outlier' already"):
        lapsi.check(scores, X, progress=False)
    assert replace(scores).table["check_outlier"].tolist() == list(range(60))
