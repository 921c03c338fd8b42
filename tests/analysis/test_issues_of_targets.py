"""Label issues, reviews, subsets and groups of numbers and of several labels a sample."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chi2
from sklearn.metrics import average_precision_score, roc_auc_score

import lapsi
from commands import run
from lapsi.analysis.agreement import compare
from lapsi.analysis.groups import roll_up
from lapsi.analysis.label_issues import disagreement, label_issues
from lapsi.analysis.review import apply_review
from lapsi.analysis.subsets import select_subset
from runs_for_reports import make_scores
from runs_of_targets import digits_as_bits, numbers


@pytest.fixture(scope="module")
def one():
    return numbers(1)


@pytest.fixture(scope="module")
def two():
    return numbers(2)


@pytest.fixture(scope="module")
def labels():
    return digits_as_bits()


def states(texts, names):
    return np.array([[name in text.split("|") for name in names] for text in texts])


def test_numbers_are_ranked_by_their_deviation(one):
    found = label_issues(one)
    table = found.table
    assert found.threshold == 0.0027
    assert (np.diff(table["loo_deviation"].abs()) <= 0).all()
    np.testing.assert_allclose(table["label_quality"], chi2.sf(table["loo_deviation"] ** 2, 1), rtol=1e-9)
    assert_array_equal(table["flagged"], table["label_quality"] < 0.0027)
    assert_array_equal(table["suggested_label"].notna(), table["flagged"])
    assert_array_equal(table["suggested_label"].dropna(), table["loo_label"][table["flagged"]])
    wider = label_issues(one, 0.05).table
    assert wider["suggested_label"].notna().sum() == (table["label_quality"] < 0.05).sum() > found.n_flagged


def test_numbers_against_the_truth(one):
    found, table = label_issues(one).found, one.table
    wrong = np.arange(len(one)) % 40 == 0
    assert found.n_errors == wrong.sum()
    assert found.auroc == pytest.approx(roc_auc_score(wrong, -table["label_quality"]))
    assert found.average_precision == pytest.approx(average_precision_score(wrong, -table["label_quality"]))
    flagged = (table["label_quality"] < 0.0027).to_numpy()
    assert found.recall == pytest.approx(flagged[wrong].mean())
    hits = table[flagged & wrong]
    nearer = (hits["loo_label"] - hits["original_label"]).abs() < (hits["label"] - hits["original_label"]).abs()
    assert found.suggestions_right == pytest.approx(nearer.mean())
    text = replace(one, table=table.assign(original_label=table["original_label"].map(lambda value: f"about {value}")))
    with pytest.raises(lapsi.InputError, match="'original_label' holds values of type .*; expected numbers"):
        label_issues(text)


def test_rounding_is_no_difference(one):
    rounded = replace(one, table=one.table.assign(original_label=one.table["label"] * (1 + 1e-9)))
    assert not disagreement(rounded, "original_label")[1].any()
    off = replace(one, table=one.table.assign(original_label=one.table["label"] * (1 + 1e-4)))
    assert disagreement(off, "original_label")[1].all()


def test_each_state_of_each_label_is_ranked(labels):
    table = label_issues(labels).table
    names = labels.outputs.tolist()
    assert len(table) == 4 * len(labels)
    given = states(labels.table["label"], names)
    expected = {
        (row, name): labels.prediction[row, k] if given[row, k] else 1 - labels.prediction[row, k]
        for row in range(len(labels))
        for k, name in enumerate(names)
    }
    assert table["label_quality"].is_monotonic_increasing
    pairs = list(zip(table["id"], table["label"], strict=True))
    assert len(set(pairs)) == len(pairs)
    np.testing.assert_allclose(table["label_quality"], [expected[pair] for pair in pairs], atol=1e-7)
    present = [given[row, names.index(name)] for row, name in pairs]
    assert_array_equal(table["given_state"], np.where(present, "present", "absent"))
    doubted = table["suggested_state"].notna()
    assert_array_equal(doubted, table["label_quality"] < 0.5)
    assert (table["suggested_state"] != table["given_state"])[doubted].all()
    assert_array_equal(table["flagged"], doubted)
    assert table.groupby("id")["label_quality"].min().to_numpy() == pytest.approx(labels.table["label_quality"], abs=1e-6)


def test_states_against_the_truth(labels):
    found = label_issues(labels)
    table, names = found.table, labels.outputs.tolist()
    truth = states(labels.table["original_label"], names)
    wrong = [truth[row, names.index(name)] != (state == "present") for row, name, state in
             zip(table["id"], table["label"], table["given_state"], strict=True)]  # fmt: skip
    assert found.found.n_errors == sum(wrong) == 16
    assert found.found.auroc == pytest.approx(roc_auc_score(wrong, -table["label_quality"]))
    assert found.found.suggestions_right == 1.0  # of two states the other one is right


@pytest.mark.parametrize("name", ["one", "two", "labels"])
def test_the_command_tells_issues_in_words_of_the_kind(name, request, tmp_path):
    scores = request.getfixturevalue(name)
    scores.save(tmp_path / "run")
    shown = run("issues", tmp_path / "run", "--top", 3, "--to", tmp_path / "all.csv")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    if name == "labels":
        assert f"of {4 * len(scores):,} states of labels are doubtful: " in words
        assert "Against original_label: 16 states of labels differ" in words
    else:
        assert "targets are doubtful: a right target lies as far from what a model" in words
        assert "below 0.0027 (three standard deviations)" in words
        assert not {"class", "labels", "accuracy"} & set(words.split())
    found, written = label_issues(scores), pd.read_csv(tmp_path / "all.csv")
    assert len(written) == len(found.table)
    told = f"All {len(written):,} {found.kind.plural} to {tmp_path / 'all.csv'}, least trusted first: the first "
    assert f"{told}{found.n_flagged:,} are doubtful (column flagged)." in words
    assert written["flagged"].tolist() == [row < found.n_flagged for row in range(len(written))]
    assert "(the threshold that was asked for)" in " ".join(
        run("issues", tmp_path / "run", "--threshold", 0.01, "--top", 0).stdout.split()
    )


def review(scores, *decisions):
    """Decisions (row, action, new label) as the page writes them."""
    rows = [
        [str(scores.table["id"][row]), str(row), str(scores.table["label"][row]), action, new, "", scores.provenance.data_hash]
        for row, action, new in decisions
    ]
    return pd.DataFrame(rows, columns=["id", "row", "label", "action", "new_label", "note", "run"], dtype=object)


def test_numbers_are_reviewed(one):
    cleaned = apply_review(one, review(one, (0, "relabel", "151.25"), (1, "remove", ""), (2, "keep", "")))
    assert cleaned.done == "changed"
    assert cleaned.table["label"].dtype == np.float64
    assert cleaned.table["label"][0] == 151.25
    assert_array_equal(cleaned.table["label"][1:], one.table["label"][2:])
    assert cleaned.table["original_label"][0] == one.table["original_label"][0]  # what it was at first, before this run


@pytest.mark.parametrize("text", ["twelve", "nan", "inf", "-Infinity", "1e999", "1,5", "1_000", "", " "])
def test_only_finite_numbers_are_targets(one, text):
    message = "without a new label" if text == "" else f"to {text!r}; expected a finite number"
    with pytest.raises(lapsi.InputError, match=message):
        apply_review(one, review(one, (0, "relabel", text)))


def test_a_target_is_the_same_however_it_is_written(one):
    with pytest.raises(lapsi.InputError, match="which is its target; use keep"):
        apply_review(one, review(one, (1, "relabel", f"{one.table['label'][1]:.6e}")))


def test_several_numbers_are_reviewed(two):
    progression = two.table["label_progression"][3]
    table = apply_review(two, review(two, (3, "relabel", f"{progression!s}, -7.5"))).table
    assert list(table.columns[:4]) == ["id", "label", "label_progression", "label_mass"]
    assert (table["label_progression"][3], table["label_mass"][3]) == (progression, -7.5)
    assert table["label"][3].endswith(", -7.5")
    assert_array_equal(table["original_label_mass"], two.table["label_mass"])
    assert_array_equal(table["original_label"], two.table["label"])
    for text in ("1", "1, 2, 3", "1, x"):
        with pytest.raises(lapsi.InputError, match="expected 2 finite numbers with commas between them"):
            apply_review(two, review(two, (3, "relabel", text)))


def test_labels_are_reviewed_as_a_set(labels):
    table = apply_review(labels, review(labels, (0, "relabel", "bit 3|bit 1"), (1, "relabel", ""))).table
    assert table["label"][0] == "bit 1|bit 3"
    assert table["label"][1] == ""
    assert_array_equal(table["label"][2:], labels.table["label"][2:])
    with pytest.raises(lapsi.InputError, match=r"'bit 9' is no label of this run .*--new-classes"):
        apply_review(labels, review(labels, (0, "relabel", "bit 1|bit 9")))
    new = apply_review(labels, review(labels, (0, "relabel", "bit 9|bit 1")), new_classes=True).table
    assert new["label"][0] == "bit 1|bit 9"
    given = labels.table["label"].str.count("[|]").idxmax()
    backwards = "|".join(reversed(labels.table["label"][given].split("|")))
    with pytest.raises(lapsi.InputError, match="which is its labels; use keep"):
        apply_review(labels, review(labels, (given, "relabel", backwards)))


@pytest.mark.parametrize("strategy", ["low", "high", "drop-lowest", "balanced"])
def test_subsets_of_numbers_are_stratified_by_quarter(one, strategy):
    chosen = np.zeros(len(one), dtype=bool)
    chosen[select_subset(one, strategy, 0.2)] = True
    target, lsi = one.table["label"].to_numpy(), one.lsi
    edges = np.quantile(target, (0.25, 0.5, 0.75))
    for quarter in range(4):
        rows = np.flatnonzero((edges < target[:, None]).sum(1) == quarter)
        share = 0.8 if strategy == "drop-lowest" else 0.2
        assert abs(chosen[rows].sum() - share * len(rows)) <= 1.5
        if strategy in ("high", "drop-lowest"):
            assert lsi[rows[chosen[rows]]].min() > lsi[rows[~chosen[rows]]].max()


def test_subsets_of_labels_have_no_strata(labels):
    n = math.floor(0.3 * len(labels))
    assert_array_equal(select_subset(labels, "high", 0.3), np.sort(np.argsort(labels.lsi, kind="stable")[-n:]))
    assert len(select_subset(labels, "balanced", 0.3)) == n


def test_roll_up(one, two, labels):
    quarters = roll_up(one)
    assert quarters["samples"].sum() == len(one)
    assert set(quarters.index) == set(one.summary().index[:-1])
    np.testing.assert_allclose(quarters["lsi_median"], one.summary()["lsi_median"][quarters.index])
    assert quarters["doubted"].sum() == one.table["suggested_label"].notna().sum() > 0
    assert roll_up(two, "ward")["samples"].to_dict() == two.table["ward"].value_counts().to_dict()
    sets = roll_up(labels, "label")
    assert sets.loc["(none)", "samples"] == (labels.table["label"] == "").sum() > 0
    assert sets["samples"].sum() == len(labels)


def test_quarters_do_not_leave_as_groups(one, tmp_path):
    one.save(tmp_path / "run")
    refused = run("groups", tmp_path / "run", "--leave-group-out")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "quarters of the target means little; name a column of groups with --by" in refused.stderr


@pytest.mark.parametrize("name", ["one", "two", "labels"])
def test_runs_are_compared(name, request):
    scores = request.getfixturevalue(name)
    agreement = compare(scores, scores)
    assert (agreement.n_common, agreement.spearman) == (len(scores), pytest.approx(1))
    assert agreement.target == ("labels" if name == "labels" else "target")
    assert_array_equal(np.sort(agreement.table["label"].astype(str)), np.sort(scores.table["label"].astype(str)))


@pytest.mark.parametrize("name", ["one", "two", "labels"])
def test_a_notebook_and_a_console_show_the_first(name, request):
    found = request.getfixturevalue(name).issues()
    text, html = repr(found), found._repr_html_()
    assert text.startswith(f"{found.n_flagged:,} of {len(found.table):,} {found.kind.plural} are doubtful: ")
    assert all(found.title in page for page in (text, html))
    assert text.count("\n") < 15
    assert html.count("<tr") == 1 + 5
    assert all(str(each) in text for each in found.table["id"].head(5))


def test_what_a_label_says_is_escaped():
    scores = make_scores(40, n_classes=2)
    found = replace(scores, table=scores.table.assign(id=[f"<b>{row}" for row in range(40)])).issues()
    assert "<b>1" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()


def test_a_report_without_a_path_lies_in_the_folder_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(make_scores(20).report()) == "report.html"
    assert (tmp_path / "report.html").stat().st_size > 1000
