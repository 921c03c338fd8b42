"""What samples are to be predicted as: told by type, or asked for."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lapsi
from lapsi.data.dataset import make_dataset
from lapsi.data.labels import make_targets
from lapsi.data.targets import ClassTargets, MultiLabelTargets, RealTargets
from lapsi.data.told_targets import alike, doubt, in_words

RNG = np.random.default_rng(0)
BITS = RNG.integers(0, 2, (12, 3))
NUMBERS = RNG.normal(size=(12, 2))
X = RNG.normal(size=(12, 4))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.arange(12) % 3, ClassTargets),
        (np.arange(12) % 3 / 1.0, ClassTargets),
        (list("abc") * 4, ClassTargets),
        (np.arange(12) > 5, ClassTargets),
        (np.arange(100), ClassTargets),  # whole numbers of an integer type are names
        (np.arange(100.0), RealTargets),  # few samples share a floating-point number
        (np.arange(100) % 25 / 1.0, RealTargets),
        (np.arange(100) % 15 / 1.0, ClassTargets),
        (NUMBERS[:, 0], RealTargets),
        (NUMBERS, RealTargets),
        (pd.DataFrame(NUMBERS, columns=["a", "b"]), RealTargets),
        (BITS, MultiLabelTargets),
        (BITS.astype(bool), MultiLabelTargets),
        (pd.DataFrame(BITS, columns=list("xyz")), MultiLabelTargets),
        ([["a"], ["a", "b"], ["c"]] * 4, MultiLabelTargets),
        ([["a", "b"], ["a", "c"], ["b", "c"]] * 4, MultiLabelTargets),
        ([[1], [1, 2], [3]] * 4, MultiLabelTargets),
        ([np.array([1]), np.array([1, 2]), np.array([3])] * 4, MultiLabelTargets),
        (pd.Series([[1], [1, 2], [3]] * 4), MultiLabelTargets),
    ],
)
def test_the_type_tells_what_labels_are(labels, kind):
    assert type(make_targets(labels, len(labels))) is kind


def test_a_task_that_is_asked_for_holds():
    assert isinstance(make_targets(np.arange(12) % 3, 12, "regression"), RealTargets)
    assert isinstance(make_targets(np.arange(12.0), 12, "classes"), ClassTargets)
    assert isinstance(make_targets(np.arange(12) % 2, 12, "multilabel"), MultiLabelTargets)
    texts = make_targets(["a|b", "b", " a ", "b|c"], 4, "multilabel")
    assert_array_equal(texts.names, ["a", "b", "c"])
    assert_array_equal(texts.values, [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1]])
    assert_array_equal(texts.shown, ["a|b", "b", "a", "b|c"])


def test_numbers_are_centred_and_scaled_as_often_as_they_count():
    weights = RNG.uniform(0, 2, 12)
    targets = make_targets(pd.DataFrame(NUMBERS, columns=["a", "b"]), 12, weights=weights)
    assert_allclose(np.average(targets.values, 0, weights), 0, atol=1e-12)
    assert_allclose(np.average(targets.values**2, 0, weights), 1)
    assert_array_equal(targets.given, NUMBERS)
    assert_array_equal(targets.names, ["a", "b"])
    assert targets.shown[0] == f"{NUMBERS[0, 0]:.4g}, {NUMBERS[0, 1]:.4g}"
    assert_array_equal(make_targets(NUMBERS[:, 0], 12).shown, NUMBERS[:, 0])


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (NUMBERS[:, 0], "classes", "continuous numbers; expected classes.*or task 'regression'"),
        (BITS, "classes", r"shape \(12, 3\).*task 'multilabel' or 'regression'"),
        (list("abc") * 4, "regression", "not all numbers; expected numbers for task 'regression', or task 'classes'"),
        (NUMBERS, "multilabel", "other values than 0 and 1.*'regression'.*'classes'"),
        (np.arange(12) % 3, "multilabel", "other values than 0 and 1"),
        (np.ones(12), "regression", "'target' is 1 for every sample: nothing to learn"),
        (np.c_[NUMBERS[:, 0], np.full(12, 7.0)], None, "'target_1' is 7 for every sample"),
        (np.r_[NUMBERS[1:, 0], np.nan], None, "1 targets are missing or infinite, the first at row 11"),
        (np.c_[BITS, np.zeros(12)], None, "No sample has the label 'label_3'; there is nothing to learn: leave it out"),
        (np.c_[BITS, np.ones(12)], None, "All samples have the label 'label_3'"),
        (np.eye(3)[np.arange(12) % 3], None, "exactly one label of 3.*argmax.*task 'multilabel'"),
        (
            [[1], [1, 2], [2]] * 4,
            "classes",
            r"labels are lists, the first in row 0: \[1\]; several labels a sample are task 'multil",
        ),
        ([[1.5], [1, 2], [2]] * 4, "regression", "labels are lists, .*task 'regression' takes one value for each"),
        (pd.Series([["a"], ["a", "b"]] * 6), "classes", "labels are lists, the first in row 0"),
        ([[1], 2, [2]] * 4, None, "The labels of row 1 are 2; expected a list of labels"),
        (np.array([["a", "b"]] * 12), None, "labels are words in 2 columns; for several labels a sample pass lists of them"),
        ([["a"], [], ["b", "a"]] * 4, None, "4 samples have no label, the first in row 1.*indicators"),
        (["a", "", "b"] * 4, "multilabel", "4 samples have no label"),
        ([["a"], None, ["b"]] * 4, None, "labels of row 1 are None; expected a list of labels"),
        (NUMBERS[:, 0], "ranking", "task is 'ranking'; expected 'auto' or one of 'classes', 'multilabel', 'regression'"),
        (NUMBERS[:5, 0], None, "expected one number, or a row of them, for each of 12"),
    ],
)
def test_labels_that_fit_no_task_are_refused(labels, task, message):
    with pytest.raises(lapsi.InputError, match=message):
        make_targets(labels, 12, task)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(12, np.nan), r"12 weights are missing, negative or infinite, the first \(missing\) at row 0"),
        (np.r_[np.ones(11), -1], r"the first \(-1\) at row 11"),
        (np.zeros(12), "0 weights are positive; expected at least 2"),
        (np.r_[1.0, np.zeros(11)], "1 weights are positive"),
        (np.ones(11), "12 samples but 11 weights"),
        (["much"] * 12, "weights are of type"),
    ],
)
def test_weights_that_count_nothing_are_refused(weights, message):
    with pytest.raises(lapsi.InputError, match=message):
        make_dataset(X, np.arange(12) % 2, weights=weights)


def test_equal_data_have_equal_digests_whatever_their_targets():
    for labels, other in ((BITS, 1 - BITS), (NUMBERS, NUMBERS + 1), (np.arange(12) % 2, np.arange(12) % 3)):
        assert make_dataset(X, labels).digest() == make_dataset(X, labels).digest() != make_dataset(X, other).digest()
    weighted = make_dataset(X, NUMBERS, weights=np.arange(12.0))
    assert weighted.digest() != make_dataset(X, NUMBERS).digest()


def test_balanced_classes_weigh_the_same():
    labels, weights = np.array([0] * 8 + [1] * 3 + [2]), np.arange(1, 13.0)
    for given in (None, weights):
        balanced = make_dataset(X, labels, weights=given).balanced()
        total = 12.0 if given is None else weights.sum()
        assert_allclose(np.bincount(labels, balanced.weights), total / 3)
    with pytest.raises(lapsi.InputError, match="expected classes"):
        make_dataset(X, NUMBERS).balanced()
    with pytest.raises(lapsi.InputError, match="class '2' have the weight 0"):
        make_dataset(X, labels, weights=np.r_[np.ones(11), 0]).balanced()


def test_lists_of_different_lengths_say_what_they_are_in_place_of():
    uneven, labels = [[1], [1, 2]] * 6, list("ab") * 6
    with pytest.raises(lapsi.InputError, match="The rows of the features differ in length; expected as many"):
        make_dataset(uneven, labels)
    for name, told in (("ids", "ids"), ("weights", "weights")):
        with pytest.raises(
            lapsi.InputError, match=f"The {told} are lists of different lengths; expected one value for each of 12"
        ):
            make_dataset(X, labels, **{name: uneven})
    with pytest.raises(lapsi.InputError, match="The values of 'c' are lists of different lengths"):
        make_dataset(X, labels, columns={"c": uneven})


def test_labels_of_different_lengths_are_those_of_lists_of_equal_ones():
    uneven = make_targets([[1, 2], [2], [3, 1]] * 4, 12)
    named = make_targets([["1", "2"], ["2"], ["3", "1"]] * 4, 12)
    assert_array_equal(uneven.values, named.values)
    assert_array_equal(uneven.names, named.names)


@pytest.mark.parametrize(
    ("labels", "task", "told"),
    [
        (["a", "b", "b", "b"], None, "2 classes (smallest 1)"),
        ([[1, 0], [0, 1], [1, 1]], "multilabel", "2 labels, each there or not (multilabel; the rarest 2 times)"),
        ([0.5, 1.5, 2.5], "regression", "numbers (regression)"),
        ([[0.5, 1], [1.5, 3], [2.5, 3]], "regression", "2 numbers a sample (regression)"),
    ],
)
def test_targets_are_told(labels, task, told):
    targets = make_dataset(np.eye(len(labels)), np.array(labels), task=task).targets
    assert in_words(targets) == told
    assert doubt(targets) == ""


def test_classes_that_are_written_as_several_labels_are_doubted():
    told = doubt(make_dataset(np.eye(6), ["a|b", "b", "b|c"] * 2).targets)
    assert told.startswith("2 of 3 classes are written as several labels, e.g. 'a|b'; ")
    assert "task 'multilabel'" in told
    assert doubt(make_dataset(np.eye(6), ["|", "b", "a|"] * 2).targets) == ""


def test_classes_of_one_sample_are_doubted_where_they_are_most():
    few, many = (make_dataset(np.eye(6), list(labels)).targets for labels in ("aabbcd", "aabcde"))
    assert doubt(few) == ""
    assert doubt(many).startswith("4 of 5 classes have one sample only")


def test_classes_that_differ_by_case_or_spaces_are_told():
    names = np.array(["barolo", "Barolo", "barolo ", "dolcetto"])[np.arange(40) % 4]
    told = alike(make_targets(pd.Series(names), 40, None))
    assert told == (
        "The classes 'Barolo', 'barolo', 'barolo ' differ by case or spaces alone; each counts as a class of its own."
    )
    assert alike(make_targets(pd.Series(np.where(names == "dolcetto", "a", "b")), 40, None)) == ""
    assert alike(make_targets(pd.Series(np.arange(40) % 4), 40, None)) == ""
