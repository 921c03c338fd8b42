"""Data of many classes, and how they are left to the closed form of engine local."""

import numpy as np
import pytest

from lapsi.engines.local import plan


@pytest.fixture(scope="module")
def many():
    """600 samples of 30 classes in 8 dimensions, a tenth of the labels wrong."""
    rng = np.random.default_rng(1)
    means, y = 3 * rng.normal(size=(30, 8)), rng.integers(30, size=600)
    X = means[y] + rng.normal(size=(600, 8))
    wrong = rng.random(600) < 0.1
    y[wrong] = rng.integers(30, size=wrong.sum())
    return X, y


@pytest.fixture
def nothing_is_small(monkeypatch):
    """Data of any size are left to the closed form."""
    monkeypatch.setattr(plan, "CONVERGE_FLOOR", 0.0)
    for name in ("BUDGET_SHARE", "EXACT_SHARE", "BUDGET_FLOOR"):
        monkeypatch.setattr(plan, name, 0.0)
