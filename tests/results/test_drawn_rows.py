"""Which samples are checked, and how far they are off."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lapsi.results.verification import Verification, draw_rows, relative_errors


@pytest.mark.parametrize("n_checks", [1, 2, 5, 16])
def test_the_largest_is_drawn_and_one_of_each_slice(n_checks):
    lsi = np.random.default_rng(0).permutation(160).astype(float)
    rows = draw_rows(lsi, n_checks, seed=3)
    ranks = np.sort(lsi[rows])
    assert_array_equal(rows, np.unique(rows))
    assert len(rows) == n_checks
    assert ranks[-1] == 159
    slices = np.array_split(np.arange(159), n_checks - 1) if n_checks > 1 else []
    assert all(part[0] <= rank <= part[-1] for part, rank in zip(slices, ranks, strict=False))
    assert_array_equal(rows, draw_rows(lsi, n_checks, seed=3))


def test_no_more_rows_are_drawn_than_there_are():
    assert_array_equal(draw_rows(np.array([2.0, 1.0, 3.0]), 16, seed=0), [0, 1, 2])


def test_errors_are_relative_to_the_reference():
    assert_allclose(relative_errors(np.array([1.1, 2.0, 0.0]), np.array([1.0, 2.0, 0.0])), [0.1, 0.0, 0.0])
    assert Verification((1, 2), 0.5, 0.25, "exact").to_dict()["rows"] == [1, 2]
