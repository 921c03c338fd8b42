"""Which samples are checked, and how far they are off."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lapsi.results.verification import Drawn, Verification, draw_rows, relative_errors, summarise_errors

UNKNOWN = np.full(160, np.nan)


@pytest.mark.parametrize("n_checks", [1, 2, 5, 16])
def test_the_largest_is_drawn_and_one_of_each_slice(n_checks):
    lsi = np.random.default_rng(0).permutation(160).astype(float)
    drawn = draw_rows(lsi, UNKNOWN, n_checks, seed=3)
    rows = drawn.positions
    ranks = np.sort(lsi[rows])
    assert_array_equal(rows, np.unique(rows))
    assert len(rows) == n_checks
    assert ranks[-1] == 159
    slices = np.array_split(np.arange(159), n_checks - 1) if n_checks > 1 else []
    assert all(part[0] <= rank <= part[-1] for part, rank in zip(slices, ranks, strict=False))
    assert_array_equal(rows, draw_rows(lsi, UNKNOWN, n_checks, seed=3).positions)
    assert not drawn.suspected.any()
    assert_array_equal(drawn.random, lsi[rows] < 159)


@pytest.mark.parametrize("n_checks", [2, 5, 16])
def test_half_are_those_with_the_largest_estimated_errors(n_checks):
    rng = np.random.default_rng(0)
    lsi, errors = rng.permutation(160).astype(float), rng.permutation(160) / 1e3
    errors[:5] = np.nan
    drawn = draw_rows(lsi, errors, n_checks, seed=3)
    top, suspected = lsi.argmax(), drawn.positions[drawn.suspected]
    assert len(np.unique(drawn.positions)) == n_checks
    assert top in drawn.positions[~drawn.suspected & ~drawn.random]
    others = np.delete(errors, top)
    assert_array_equal(np.sort(errors[suspected]), np.sort(others[~np.isnan(others)])[-(n_checks // 2) :])
    left = np.setdiff1d(np.argsort(lsi)[:-1], suspected)
    ranks = np.searchsorted(np.sort(lsi[left]), np.sort(lsi[drawn.positions[drawn.random]]))
    slices = np.array_split(np.arange(len(left)), n_checks - 1 - len(suspected)) if n_checks > 2 else []
    assert all(part[0] <= rank <= part[-1] for part, rank in zip(slices, ranks, strict=True))


def test_both_errors_are_told():
    drawn = Drawn(np.array([2, 5, 7, 9]), np.array([True, False, True, False]), np.array([False, True, False, False]))
    found = summarise_errors(drawn, np.array([0.1, 0.3, 0.2, 0.4]), "exact")
    assert (found.max_relative_error_suspected, found.max_relative_error_random) == (0.2, 0.3)
    assert (found.rows, found.max_relative_error, found.median_relative_error) == ((2, 5, 7, 9), 0.4, 0.25)


def test_no_more_rows_are_drawn_than_there_are():
    assert_array_equal(draw_rows(np.array([2.0, 1.0, 3.0]), UNKNOWN[:3], 16, seed=0).positions, [0, 1, 2])


def test_errors_are_relative_to_the_reference():
    assert_allclose(relative_errors(np.array([1.1, 2.0, 0.0]), np.array([1.0, 2.0, 0.0])), [0.1, 0.0, 0.0])
    assert Verification((1, 2), 0.5, 0.25, "exact").to_dict()["rows"] == [1, 2]
