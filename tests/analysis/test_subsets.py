"""Subsets, by brute force over each class."""

import numpy as np
import pytest

import lapsi
from lapsi.analysis.subsets import select_subset


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [60, 30, 11])
    return lapsi.score(rng.normal(size=(101, 4)), y, verify=0, progress=False)


@pytest.mark.parametrize("strategy", ["low", "mid", "high", "drop-lowest", "drop-highest"])
@pytest.mark.parametrize("fraction", [0.1, 1 / 3, 0.5])
def test_each_class_gives_its_share(scores, strategy, fraction):
    chosen = select_subset(scores, strategy, fraction)
    assert (np.diff(chosen) > 0).all()
    for _, part in scores.table.groupby("label"):
        order = part.sort_values("lsi").index.tolist()
        n, k = len(order), int(fraction * len(order) + 1e-9)
        start = {"low": 0, "mid": (n - k) // 2, "high": n - k}.get(strategy)
        expected = {"drop-lowest": order[k:], "drop-highest": order[: n - k]}.get(strategy) or order[start : start + k]
        assert set(chosen) & set(order) == set(expected)


def test_numpy_scalars_are_fractions(scores):
    np.testing.assert_array_equal(select_subset(scores, "low", np.float32(0.5)), select_subset(scores, "low", 0.5))


def test_thirds_are_the_whole(scores):
    parts = [select_subset(scores, strategy, 1 / 3) for strategy in ("low", "mid", "high")]
    assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts)))
    np.testing.assert_array_equal(
        np.sort(np.concatenate([select_subset(scores, "low", 0.2), select_subset(scores, "drop-lowest", 0.2)])), np.arange(101)
    )


def test_balanced_is_even_over_classes_and_rankings(scores):
    chosen = select_subset(scores, "balanced", 0.3)
    labels = scores.table["label"].iloc[chosen]
    assert labels.value_counts().to_dict() == {"a": 10, "b": 10, "c": 10}
    ranks = scores.table["rank_in_class"].iloc[chosen][labels == "a"].sort_values().to_numpy()
    assert np.ptp(np.diff(ranks)) == 0
    many = select_subset(scores, "balanced", 0.9)
    assert scores.table["label"].iloc[many].value_counts().to_dict() == {"a": 30, "b": 30, "c": 11}


def test_errors(scores):
    for strategy, fraction, message in (
        ("best", 0.5, "strategy is 'best'; expected one of 'low'"),
        ("low", 0, "fraction is 0; expected a finite number greater than 0 and below 1"),
        ("low", 1.0, "fraction is 1.0"),
        ("low", 0.001, "is below one of each; take more"),
        ("drop-highest", 0.001, "0.001 of each stratum is below one sample in all .* of them; drop more"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            select_subset(scores, strategy, fraction)
