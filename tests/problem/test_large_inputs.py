"""Inputs that would take much are held in float32, once; what is computed of them is float64."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import lapsi
from lapsi.data.dataset import make_dataset
from lapsi.data.standardize import standardizer_of
from lapsi.engines.base import work_of
from lapsi.engines.choose import make_engine
from lapsi.problem import of_dataset
from lapsi.problem.of_dataset import inputs_of, is_large
from lapsi.settings.settings import make_settings

QUIET = {"weight_decay": 0.01, "standardize": "each", "progress": False, "verify": 0}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    return (rng.normal(size=(200, 6)) + 100 + 2 * np.eye(3, 6)[y]).astype(np.float32), y


@pytest.fixture
def all_are_large(monkeypatch):
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 0)


def test_only_large_inputs_of_narrow_features_are(data, monkeypatch):
    X, y = data
    assert not is_large(make_dataset(X, y))
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 8 * 200 * 7 - 1)
    assert is_large(make_dataset(X, y))
    assert is_large(make_dataset(X.astype(np.float16), y))
    assert not is_large(make_dataset(X.astype(np.float64), y))
    assert not is_large(make_dataset(X[:5], y[:5]))  # fewer than features: taken in their span
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 8 * 200 * 7)
    assert not is_large(make_dataset(X, y))


def test_they_are_rounded_once(data, all_are_large):
    dataset = make_dataset(*data)
    standardizer = standardizer_of(dataset.survey, "each")
    found, exact = inputs_of(dataset, standardizer), torch.from_numpy(standardizer.all_inputs(dataset.features))
    assert found.dtype == torch.float32
    assert torch.equal(found, exact.float())


@pytest.mark.parametrize(
    "options",
    [{}, {"refine": 0}, {"curvature": "kfac"}, {"curvature": "full"}, {"engine": "local"}, {"engine": "local", "coupled": 2}],
)
def test_scores_are_those_of_float64_to_its_rounding(data, monkeypatch, options):
    expected = lapsi.score(*data, **QUIET, **options)
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 0)
    found = lapsi.score(*data, **QUIET, **options)
    assert_allclose(found.lsi, expected.lsi, rtol=2e-5)
    assert_allclose(found.table["loo_loss"], expected.table["loo_loss"], rtol=1e-5, atol=1e-7)


def test_the_weight_decay_is_chosen_alike(data, monkeypatch):
    choices = {"progress": False, "verify": 0}
    expected = lapsi.score(*data, **choices).provenance.regularization["chosen"]
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 0)
    found = lapsi.score(*data, **choices).provenance.regularization["chosen"]
    assert found["weight_decay"] == expected["weight_decay"]
    assert_allclose(found["loo_loss"], expected["loo_loss"], rtol=1e-4)


def test_numbers_and_groups(data, monkeypatch):
    X, y = data
    numbers = X[:, :2] - 100 + y[:, None] + np.random.default_rng(1).normal(size=(200, 2))
    calls = (
        lambda: lapsi.score(X, numbers, task="regression", **QUIET).lsi,
        lambda: lapsi.score(X, numbers, task="regression", noise_removal="anew", **QUIET).lsi,
        lambda: lapsi.leave_group_out(X, y, np.arange(200) // 40, **QUIET)["lsi"].sort_index().to_numpy(),
    )
    expected = [call() for call in calls]
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 0)
    for call, values in zip(calls, expected, strict=True):
        assert_allclose(call(), values, rtol=1e-4)


def test_a_plan_counts_them_once(data, all_are_large, monkeypatch):
    large = work_of(make_dataset(*data), 200)
    monkeypatch.setattr(of_dataset, "LARGE_BYTES", 2**31)
    usual = work_of(make_dataset(*data), 200)
    for engine in ("newton", "local"):
        plans = [make_engine(make_settings(engine)).plan(work).cost.peak_bytes for work in (usual, large)]
        assert plans[0] - plans[1] == {"newton": 12, "local": 8}[engine] * 200 * 7
