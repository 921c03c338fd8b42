"""Rows made of other rows: read as if they were one array, and never more of them than asked for."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lapsi.data import blocks
from lapsi.data.blocks import ArrayBlocks, Blocks, rebatched, survey
from lapsi.data.composed import ChangedBlocks, ChosenBlocks, JoinedBlocks
from lapsi.data.corruption import add_noise
from lapsi.data.dataset import make_dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 3)).astype("float32")
CUTS = (0, 40, 41, 100)
ROWS = (slice(None), slice(38, 45), slice(60, 20), slice(None, None, -7), np.array([99, 0, 40, 40]), np.arange(100) % 9 == 0)
PLACES = np.array([3, 40, 99])
ADDED = RNG.normal(size=(3, 3)).astype("float32")


@pytest.fixture
def few_rows(monkeypatch):
    """Blocks of 16 rows."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)


class Watched(Blocks):
    """Rows that remember how many were read at once; they are never all in memory."""

    def __init__(self, array):
        self.array, self.most = array, 0

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def read(self, rows):
        part = self.array[rows]
        self.most = max(self.most, len(part))
        return part

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all rows were asked for")


def joined(kind=ArrayBlocks):
    return JoinedBlocks(tuple(kind(X[start:stop]) for start, stop in pairwise(CUTS)), ("a", "b", "c"))


def changed():
    whole = X.copy()
    whole[PLACES] += ADDED
    return ChangedBlocks(ArrayBlocks(X), PLACES, ADDED), whole


CASES = {
    "joined": (joined(), X),
    "chosen": (ChosenBlocks(ArrayBlocks(X[::-1]), np.arange(100)[::-1]), X),
    "repeated": (ChosenBlocks(ArrayBlocks(X[:7]), np.arange(100) % 7), np.resize(X[:7], (100, 3))),
    "changed": changed(),
    "changed of joined": (ChangedBlocks(joined(), PLACES, ADDED), changed()[1]),
}


@pytest.mark.parametrize(("found", "expected"), CASES.values(), ids=CASES)
def test_they_read_as_one_array(few_rows, found, expected):
    assert (found.shape, found.dtype, len(found)) == (expected.shape, expected.dtype, 100)
    for rows in ROWS:
        assert_array_equal(found.read(rows), expected[rows])
    assert_array_equal(np.asarray(found), expected)
    parts = list(found.blocks())
    assert [rows.start for rows, _ in parts] == list(range(0, 100, 16))
    assert_array_equal(np.concatenate([part for _, part in parts]), expected)
    assert survey(found).digest == survey(ArrayBlocks(expected)).digest


def test_few_rows_are_read_at_a_time(few_rows):
    parts = [Watched(X[start:stop]) for start, stop in pairwise(CUTS)]
    whole = JoinedBlocks(tuple(parts), ("a", "b", "c"))
    dataset = make_dataset(whole, np.arange(100) % 2)
    assert dataset.has_digest(dataset._first_digest())
    noised = add_noise(whole, np.array([1, 50]), 1.0, np.random.default_rng(0))
    survey(noised)
    assert max(part.most for part in parts) == 16
    parts[0].most = 0
    whole.read(np.array([1, 2, 41]))
    assert (parts[0].most, parts[1].most) == (2, 1)


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_noise_is_that_of_the_whole_array(few_rows, n_columns, dtype):
    given = (10 * X[:, :n_columns] + 50).astype(dtype)
    kind = "float32" if dtype in ("float32", "float16") else "float64"
    expected, touched = given.astype(kind), np.arange(0, 100, 3)
    drawn = np.random.default_rng(7).standard_normal((len(touched), n_columns))
    expected[touched] += (0.5 * given.std(0, dtype=np.float64) * drawn).astype(kind)
    found = add_noise(ArrayBlocks(given), touched, 0.5, np.random.default_rng(7))
    assert found.dtype == expected.dtype
    assert_array_equal(np.asarray(found), expected)


def test_a_row_is_called_by_its_part():
    assert joined().place(40) == "row 40 (row 0 of b)"
    assert ChangedBlocks(joined(), PLACES, ADDED).place(99) == "row 99 (row 58 of c)"
    assert ArrayBlocks(X).place(7) == "row 7"


@pytest.mark.parametrize("sizes", [(100,), (3, 5, 92), (16, 16, 68), (0, 100, 0), (1,) * 100, ()])
def test_parts_of_any_size_become_parts_of_one(sizes):
    ends = np.cumsum(sizes, dtype=int)
    parts = list(rebatched((X[end - size : end] for end, size in zip(ends, sizes, strict=True)), 16))
    assert (
        [rows.stop - rows.start for rows, _ in parts] == [len(part) for _, part in parts] == ([16] * 6 + [4] if sizes else [])
    )
    assert all((part == X[rows]).all() for rows, part in parts)
