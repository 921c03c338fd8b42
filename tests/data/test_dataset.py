import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

import lapsi
from lapsi.data.blocks import ArrayBlocks, survey
from lapsi.data.dataset import make_dataset, same_digest
from lapsi.data.standardize import standardizer_of
from lapsi.errors import InputError

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "b", "a", "b", "a"], ["a", "b"]),
        ([7, -3, 7, -3, 7, -3], [-3, 7]),
        ([True, False] * 3, [False, True]),
        ([1.0, 0.0] * 3, [0, 1]),
        (pd.Series(["b", "a"] * 3, dtype="category"), ["a", "b"]),
        (pd.Series(["b", "a"] * 3, dtype="string"), ["a", "b"]),
        (np.array([b"b", b"a"] * 3), ["a", "b"]),
        (torch.tensor([1, 0] * 3), [0, 1]),
        (np.array([[1], [0]] * 3), [0, 1]),
    ],
)
def test_labels_of_any_kind_are_mapped_and_kept(labels, classes):
    dataset = make_dataset(X, labels)
    assert_array_equal(dataset.classes, classes)
    assert_array_equal(dataset.labels, [1, 0] * 3)


@pytest.mark.parametrize(
    "features", [X, X.astype("uint8"), X.astype("float16"), torch.tensor(X), pd.DataFrame(X), X.tolist(), X > 3]
)
def test_features_of_any_kind_are_taken(features):
    assert make_dataset(features, Y).features.shape == (6, 2)


def with_value(value):
    changed = X.copy()
    changed[4, 1] = value
    return changed


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (with_value(np.nan), Y, "1 NaN or infinite values in 1 samples, the first at row 4, column 1.*fill"),
        (with_value(np.inf), Y, "NaN or infinite.*row 4"),
        (X, Y[:5], "6 samples but 5 labels"),
        (X[:0], Y[:0], "empty: 0 samples"),
        (X[:1], Y[:1], "1 sample; expected at least 2"),
        (X[:, :0], Y, "0 feature"),
        (X, np.zeros(6), "only one class"),
        (X[:, 0], Y, r"shape \(6,\); expected 2 axes.*[Rr]eshape"),
        (X.astype(complex), Y, "[Cc]omplex"),
        (csr_matrix(X), Y, "Sparse.*toarray"),
        ([["a", "b"]] * 6, Y, "not all numbers"),
        ([[1, 2], [3]] * 3, Y, "differ in length"),
        (X, [0.0, 1e19] * 3, "beyond 2.53"),
        (X, [None, "a"] * 3, "3 labels are missing.*row 0"),
        (X, [np.nan, 1.0] * 3, "3 labels are missing"),
        (X, np.array(["a", 1] * 3, dtype=object), "mix types"),
        (X, np.eye(2)[Y], "exactly one label.*argmax.*task 'multilabel'"),
    ],
)
def test_what_cannot_be_scored_is_refused(features, labels, message):
    with pytest.raises(InputError, match=message):
        make_dataset(features, labels)


def test_lists_in_the_place_of_numbers_or_names_are_told():
    quick = {"verify": 0, "progress": False, "weight_decay": 0.01, "standardize": "each"}
    with pytest.raises(InputError, match="columns are a list; expected values by name"):
        lapsi.score(X, Y, columns=[1, 2], **quick)
    with pytest.raises(InputError, match="indices are lists of different lengths"):
        lapsi.score(X, Y, indices=[[1], [1, 2]], **quick)
    for estimator in (lapsi.LaplaceSampleInformation(), lapsi.LaplaceSampleInformationRegressor()):
        with pytest.raises(InputError, match="rows of the features differ in length"):
            estimator.fit([[1, 2], [3]] * 3, Y)


def test_ids_are_checked_and_taken_from_a_frame():
    with pytest.raises(InputError, match="not unique: 'b' occurs 2 times"):
        make_dataset(X, Y, ids=["a", "b", "c", "b", "d", "e"])
    with pytest.raises(InputError, match="ids mix types"):
        make_dataset(X, Y, ids=np.array([0, 1, 2, 3, 4, "x"], dtype=object))
    with pytest.raises(InputError, match="6 samples but 2 ids"):
        make_dataset(X, Y, ids=["a", "b"])
    assert_array_equal(make_dataset(pd.DataFrame(X, index=list("abcdef")), Y).ids, list("abcdef"))


def test_standardizer_centres_scales_and_zeroes_constants():
    features = np.c_[X, np.full(6, 1e6 + 0.1)]
    known = survey(ArrayBlocks(features))
    inputs = standardizer_of(known, "each").inputs(features)
    assert_allclose(inputs.mean(0), [0, 0, 0, 1], atol=1e-12)
    assert_allclose(inputs.std(0), [1, 1, 0, 0], atol=1e-12)
    assert_array_equal(standardizer_of(known, "none").inputs(features), np.c_[features, np.ones(6)])
    one = standardizer_of(known, "one").inputs(features)
    factor = np.sqrt(features[:, :2].var(0).mean())
    assert_allclose(one[:, :2], (features[:, :2] - features[:, :2].mean(0)) / factor, rtol=1e-12)
    assert_array_equal(one[:, 2:], inputs[:, 2:])


def test_digest_tells_data_apart():
    digest = make_dataset(X, Y).digest()
    assert digest == make_dataset(X.copy(), Y.copy()).digest()
    assert digest != make_dataset(with_value(9.5), Y).digest()
    assert digest != make_dataset(X, Y[::-1]).digest()
    assert digest != make_dataset(X, np.array(["a", "b"])[Y]).digest()
    assert digest != make_dataset(X, Y.astype(str)).digest()
    assert digest != make_dataset(X, Y.astype(bool)).digest()
    assert digest == make_dataset(X, Y.astype(np.uint8)).digest()


def test_digest_tells_where_names_end():
    one = make_dataset(X, ["a", "b"] * 3, ids=["bu", *"vwxyz"])
    assert one.digest() != make_dataset(X, ["a", "bb"] * 3, ids=[*"uvwxyz"]).digest()
    assert one.digest() == make_dataset(X, pd.Series(["a", "b"] * 3), ids=pd.Index(["bu", *"vwxyz"])).digest()
    days = pd.date_range("2020", periods=6).as_unit("ns")
    assert make_dataset(X, Y, ids=days).digest() == make_dataset(X, Y, ids=days.as_unit("us")).digest()


def test_digests_of_earlier_versions_are_known():
    dataset = make_dataset(X, np.array(["a", "b"])[Y], ids=list("uvwxyz"))
    earlier = "78f608e7d2d1b525c12aa4c44e6fb3db"
    assert dataset.has_digest(earlier)
    assert dataset.has_digest(dataset.digest())
    other = make_dataset(with_value(9.5), np.array(["a", "b"])[Y], ids=list("uvwxyz"))
    assert not other.has_digest(earlier)
    assert not other.has_digest(dataset.digest())
    assert same_digest(dataset.digest(), other.digest()) is False
    assert same_digest(earlier, earlier) is True
    assert same_digest(earlier, dataset.digest()) is None


def test_overflowing_features_are_refused():
    huge = np.array([[1e308], [-1e308], [1e308]])
    for standardize in ("each", "one", "none"):
        with pytest.raises(InputError, match="too large for float64.*divide"):
            standardizer_of(survey(ArrayBlocks(huge)), standardize)
    with pytest.raises(InputError, match="vary too little for float64.*multiply"):
        standardizer_of(survey(ArrayBlocks(np.array([[1e-156], [-1e-156], [0.0]]))), "each")
    calm = standardizer_of(survey(ArrayBlocks(np.ones((3, 1)))), "none")
    with pytest.raises(InputError, match="too large"):
        calm.inputs(np.array([[np.inf]]))
