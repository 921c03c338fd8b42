"""The parts of the checks that are lapsi's own, against loops."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import balanced_accuracy_score

import lapsi
from lapsi.analysis.checks.base import CHECK, Given, is_about, texts
from lapsi.analysis.checks.confusions import confusions, pairs_of
from lapsi.analysis.checks.datalab import ORDER, Audit
from lapsi.analysis.checks.duplicates import KINDS, duplicate_sets, equal_rows
from lapsi.analysis.checks.giveaways import accuracy, by_threshold, by_value
from lapsi.analysis.checks.order import Order
from lapsi.analysis.checks.told import found, in_a_line, record_of
from runs_for_reports import make_scores


def closure(joined):
    """Which samples are joined by chains of others."""
    reach = joined | joined.T | np.eye(len(joined), dtype=bool)
    for _ in range(len(joined)):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    return reach


@pytest.mark.parametrize("seed", range(6))
def test_sets_of_duplicates_are_chains_the_worst_first(seed):
    rng, n = np.random.default_rng(seed), 24
    equal = rng.integers(18, size=n)
    labels = rng.integers(2, size=n).astype(str)
    joined = rng.random((n, n)) < 0.02
    sets = duplicate_sets([np.flatnonzero(row) for row in joined], equal, labels)
    same = equal[:, None] == equal
    reach = closure(joined | same)
    assert_array_equal((sets.number[:, None] == sets.number) & (sets.number > 0)[:, None], reach & (reach.sum(1) > 1)[:, None])
    for row in range(n):
        if reach[row].sum() == 1:
            assert (sets.number[row], sets.kind[row]) == (0, -1)
            continue
        exact = same[row].sum() > 1
        differs = len({labels[other] for other in np.flatnonzero(same[row] if exact else reach[row])}) > 1
        assert KINDS[sets.kind[row]] == ("exact" if exact else "near") + (", labels differ" if differs else "")
    worst = [sets.kind[rows].min() for rows in sets.members]
    assert worst == sorted(worst)
    assert [len(rows) for rows in sets.members] == np.bincount(sets.number)[1:].tolist()


def test_rows_are_equal_where_their_numbers_are():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0 + 1e-15]])
    assert equal_rows(rows).tolist() == [0, 0, 1, 2]


def test_no_sets_without_duplicates():
    sets = duplicate_sets([np.array([], int)] * 3, np.arange(3), np.array(["a", "b", "a"]))
    assert sets.number.tolist() == [0, 0, 0]
    assert sets.members == []


def test_confused_pairs_are_counted_both_ways():
    rng, classes = np.random.default_rng(1), ["10", "9", "ant"]
    labels, predicted = rng.choice(classes, 200), rng.choice(classes, 200)
    table = confusions(labels, predicted, pairs_of(labels, predicted, classes))
    both = list(zip(labels, predicted, strict=True))
    for a, b in (("10", "9"), ("10", "ant"), ("9", "ant")):
        count = both.count((a, b)) + both.count((b, a))
        assert table["count"][f"{a} / {b}"] == count
        assert table["share"][f"{a} / {b}"] == pytest.approx(count / ((labels == a) | (labels == b)).sum(), rel=1e-15)
    assert table["share"].is_monotonic_decreasing


def test_few_confusions_are_no_finding():
    labels = np.array(["a"] * 50 + ["b"] * 50)
    predicted = labels.copy()
    predicted[:2] = "b"
    assert len(confusions(labels, predicted, pairs_of(labels, predicted, ["a", "b"]))) == 0


def test_a_value_predicts_the_class_of_the_others_that_have_it():
    rng = np.random.default_rng(2)
    codes = rng.integers(3, size=60)
    values = pd.Series(rng.choice(["p", "q", "r", "s", None], 60))
    predicted = by_value(values, codes)
    for row in range(60):
        others = [codes[other] for other in range(60) if other != row and values[other] == values[row]]
        if values[row] is None or not others:
            assert predicted[row] == -1
        else:
            counts = Counter(others)
            assert predicted[row] == min(counts, key=lambda code: (-counts[code], code))


def test_a_value_of_its_own_predicts_nothing():
    assert (by_value(pd.Series(range(40)), np.arange(40) % 2) == -1).all()


def test_a_number_predicts_where_its_thresholds_do():
    rng = np.random.default_rng(3)
    numbers = rng.random(300)
    codes = (numbers > 0.3).astype(int) + (numbers > 0.6)
    assert accuracy(codes, by_threshold(numbers, codes)) > 0.98
    assert by_threshold(rng.random(300), codes) is None
    with_gaps = np.where(np.arange(300) == 5, np.nan, numbers)
    assert accuracy(codes, by_threshold(with_gaps, codes)) > 0.98


def test_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    codes, predicted = rng.choice([0, 2, 3], 50), rng.choice([0, 2, 3], 50)
    assert accuracy(codes, predicted) == pytest.approx(balanced_accuracy_score(codes, predicted), rel=1e-15)


def test_a_rare_class_counts_as_much_as_others():
    codes = (np.arange(500) % 100 == 0).astype(int)
    assert accuracy(codes, np.zeros(500, int)) == 0.5
    assert by_threshold(np.random.default_rng(0).random(500), codes) is None


@pytest.mark.parametrize(("chance", "told"), [(0.044, None), (0.0101, None), (0.0099, "p = 0.0099"), (0, "p < 0.001")])
def test_an_order_is_no_chance_below_a_hundredth(chance, told):
    issues = pd.DataFrame({"is_non_iid_issue": [True] + [False] * 19, "non_iid_score": np.linspace(0, 1, 20)})
    audit = Audit(issues, {ORDER: {"p-value": chance}}, {})
    answer = Order().answer(Given(make_scores(20), np.zeros((20, 1)), False, "", audit))
    assert (answer.found, answer.values["check_order"].sum()) == ((0, 0) if told is None else (2, 2))
    assert (told or "") in answer.said
    assert bool(answer.said) == bool(answer.examples) == (told is not None)


def test_the_first_column_names_the_samples():
    assert is_about(pd.Series([True, False])).tolist() == [True, False]
    assert is_about(pd.Series([0.0, np.nan, 0.2])).tolist() == [False, False, True]
    assert is_about(pd.Series(texts(["near", None, ""]))).tolist() == [True, False, False]


def test_a_run_that_was_not_checked_says_so():
    scores = make_scores(20)
    assert record_of(scores) is None
    assert in_a_line(scores) == ""
    assert found(scores) == {}
    assert len(lapsi.findings(scores)) == 0


def test_a_damaged_record_is_one_line():
    scores = make_scores(20)
    broken = replace(scores, provenance=replace(scores.provenance, measures={CHECK: {"findings": [{"check": 3}]}}))
    with pytest.raises(lapsi.InputError, match=r"is damaged \(findings\.0\..* of run\.json\); check it again"):
        lapsi.findings(broken)
