"""What is told of features that hardly tell samples apart."""

import numpy as np
import pytest

import lapsi
from lapsi.data.dataset import make_dataset
from lapsi.data.told_features import doubt_features
from lapsi.scoring import doubts

Y = np.arange(40) % 2
NOISE = np.random.default_rng(0).normal(size=(40, 4)) + 1e3


@pytest.mark.parametrize(
    ("n_constant", "said"),
    [
        (0, ""),
        (1, ""),
        (2, "2 of 4 features are the same for every sample, and tell nothing."),
        (4, "All 4 features are the same for every sample, so nothing tells the samples apart"),
    ],
)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_features_that_are_the_same_for_every_sample(n_constant, said, value):
    X = NOISE.copy()
    X[:, :n_constant] = value
    told = doubt_features(make_dataset(X, Y).survey)
    assert told.startswith(said)
    assert bool(told) == bool(said)


def test_nothing_is_said_of_features_that_stand_for_others():
    dataset = make_dataset(np.ones((40, 4)), Y)
    assert len(doubts(dataset)) == 1
    assert doubts(dataset, features=False) == []


def test_a_run_says_it_before_the_work(capsys):
    X = NOISE.copy()
    X[:, :3] = 7
    lapsi.score(X, Y, verify=0)
    said = " ".join(capsys.readouterr().err.split())
    assert "Caution: 3 of 4 features are the same for every sample" in said
