"""Features in blocks: one first pass that tells all, from memory or from a file."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lapsi
from lapsi.data import blocks
from lapsi.data.blocks import ArrayBlocks, Blocks, survey
from lapsi.data.dataset import make_dataset
from lapsi.execution.progress import Stages
from lapsi.scoring import score_dataset
from lapsi.settings.settings import make_settings

MERGED = {"rtol": 1e-12}
Y = np.arange(400) % 3


@pytest.fixture
def few_rows(monkeypatch):
    """Blocks of 16 rows."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)


def features(n_rows=400, n_columns=5, offset=0.0):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, n_columns)) * np.geomspace(1e-2, 1e2, n_columns) + offset


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_one_pass_tells_mean_deviation_and_scatter(few_rows, offset):
    X = features(offset=offset)
    X[200:] += 3 * np.geomspace(1e-2, 1e2, 5)  # parts that differ
    known, centred = survey(ArrayBlocks(X)), X - X.mean(0)
    assert_allclose(known.mean, X.mean(0), **MERGED)
    exact = X.astype(np.longdouble) - X.astype(np.longdouble).mean(0)
    # a feature of 1e-2 beside an offset of 1e6 has 8 digits itself
    assert_allclose(known.variance, (exact**2).mean(0).astype(float), rtol=1e-12 if offset == 0 else 1e-7)
    assert_allclose(known.scatter, centred.T @ centred, rtol=1e-9, atol=1e-9 * np.abs(centred.T @ centred).max())
    assert known.sample is None


def test_the_hash_is_of_the_numbers_and_not_of_the_blocks(monkeypatch):
    X = features()
    whole = survey(ArrayBlocks(X)).digest
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    assert survey(ArrayBlocks(X)).digest == whole == survey(ArrayBlocks(np.asfortranarray(X))).digest
    X[399, 4] = np.nextafter(X[399, 4], 9)
    assert survey(ArrayBlocks(X)).digest != whole


def test_wide_features_are_told_by_some_of_their_rows(few_rows, monkeypatch):
    monkeypatch.setattr(blocks, "WIDEST_SCATTER", 4)
    monkeypatch.setattr(blocks, "SAMPLE_ENTRIES", 64 * 5)
    X = features()
    known = survey(ArrayBlocks(X))
    assert known.scatter is None
    assert_allclose(known.sample, X[::7] - X.mean(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_named(few_rows, value):
    X = features()
    X[123, 2], X[200, 1] = value, value
    with pytest.raises(lapsi.InputError, match="contain 2 NaN or infinite values in 2 samples, the first at row 123, column 2"):
        make_dataset(X, Y)


class Counted(Blocks):
    """Rows that count how often they are read."""

    def __init__(self, array):
        self._blocks, self.n_read = ArrayBlocks(array), 0

    @property
    def shape(self):
        return self._blocks.shape

    @property
    def dtype(self):
        return self._blocks.dtype

    def read(self, rows):
        part = self._blocks.read(rows)
        self.n_read += len(part)
        return part

    def __array__(self, dtype=None, copy=None):
        self.n_read += len(self)
        return np.asarray(self._blocks, dtype)


@pytest.mark.parametrize("choices", [{}, {"curvature": "kfac", "refine": 0}, {"recipe": lapsi.Recipe(epochs=2, seeds=2)}])
def test_features_are_read_twice(few_rows, choices):
    counted = Counted(features())
    dataset = make_dataset(counted, Y)
    assert counted.n_read == 400
    settings = make_settings(**choices, weight_decay=0.01, standardize="each")
    scores, _ = score_dataset(dataset, settings, np.arange(0, 400, 40), Stages(show=False))
    assert counted.n_read == 2 * 400
    assert scores.provenance.data_hash == make_dataset(features(), Y).digest()


def test_a_mapped_file_gives_the_same_scores_to_the_last_bit(few_rows, tmp_path):
    X = features()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    one, other = (lapsi.score(array, Y, verify=2, progress=False) for array in (X, mapped))
    assert_array_equal(other.lsi, one.lsi)
    assert_array_equal(other.map, one.map)
    assert other.provenance.data_hash == one.provenance.data_hash
