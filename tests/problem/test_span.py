"""More features than samples: the problem in the span of the rows gives what the plain one does."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import softmax
from torch.testing import assert_close

import lapsi
from lapsi.engines.base import Work
from lapsi.linalg.span import row_span
from lapsi.problem import of_dataset
from lapsi.problem.of_dataset import in_span
from lapsi.training import regularization

N, D, C = 40, 90, 3
EXACT = {"rtol": 1e-9}
QUIET = {"weight_decay": 0.05, "standardize": "each", "progress": False}


@pytest.fixture(scope="module")
def wide():
    rng = np.random.default_rng(0)
    y = np.arange(N) % C
    X = rng.normal(size=(N, D))
    X[:, :C] += 2 * np.eye(C)[y]
    return X, y


@pytest.fixture
def plainly(monkeypatch):
    """Scores in the coordinates of the features, many as they are."""

    def score(*args, **options):
        with monkeypatch.context() as patched:
            for module in (of_dataset, regularization):
                patched.setattr(module, "in_span", lambda inputs: (inputs, None))
            return lapsi.score(*args, **options)

    return score


def test_the_span_holds_the_rows():
    matrix = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix[4] = matrix[0] - matrix[1]  # of lower rank
    coordinates, span = row_span(matrix)
    assert coordinates.shape == (5, 5)
    assert_close(coordinates @ span, matrix, rtol=0, atol=1e-14)
    assert_close(span @ span.T, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-14)


def test_only_more_features_than_samples_are_taken_there():
    square = torch.ones(4, 4, dtype=torch.float64)
    assert in_span(square) == (square, None)
    assert in_span(torch.ones(4, 5, dtype=torch.float64))[1].shape == (4, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"curvature": "diag"},
        {"curvature": "kfac"},
        {"curvature": "full"},
        {"curvature": "diag", "removal": "sum", "prior_precision": 0.7},
        {"curvature": "kfac", "prior_precision": 0.7},
        {"curvature": "diag", "refine": 0},
        {"curvature": "diag", "sample_weight": np.linspace(0.5, 2, N)},
    ],
)
def test_rows_are_those_of_the_plain_problem(wide, plainly, options):
    options = {"dtype": "float64", "verify": 0, **QUIET, **options}
    found, expected = lapsi.score(*wide, **options), plainly(*wide, **options)
    tolerance = {"rtol": 1e-5} if options.get("refine") == 0 else EXACT  # which neighbours are nearest is rounded
    for name in ("lsi_mean", "lsi_curvature", "shift_norm"):
        assert_allclose(found.table[name], expected.table[name], **tolerance, atol=1e-12)
    assert_allclose(found.table["leverage"], expected.table["leverage"], rtol=1e-6)
    assert_allclose(found.map, expected.map, rtol=1e-5, atol=1e-5)


def test_numbers_and_several_labels(wide, plainly):
    X, y = wide
    numbers = {"task": "regression", "noise_variance": (1.0,)}
    for targets, more in (
        (X[:, :2] + y[:, None], numbers),
        (np.eye(C)[y], {"task": "multilabel"}),
    ):
        options = {"dtype": "float64", "verify": 0, **more, **QUIET}
        assert_allclose(lapsi.score(X, targets, **options).lsi, plainly(X, targets, **options).lsi, rtol=1e-8)


def test_engine_local(wide, plainly, monkeypatch):
    for name in ("CONVERGE_FLOOR", "EXACT_SHARE", "BUDGET_FLOOR"):
        monkeypatch.setattr(f"lapsi.engines.local.plan.{name}", 0.0)
    found, expected = (score(*wide, engine="local", coupled=C, **QUIET) for score in (lapsi.score, plainly))
    assert_allclose(found.lsi, expected.lsi, rtol=1e-4)
    assert found.provenance.verification["failure"] == ""


def test_groups(wide, monkeypatch):
    X, y = wide
    groups = np.arange(N) // 8
    found = lapsi.leave_group_out(X, y, groups, **QUIET)
    monkeypatch.setattr(of_dataset, "in_span", lambda inputs: (inputs, None))
    expected = lapsi.leave_group_out(X, y, groups, **QUIET)
    assert_allclose(found["lsi"], expected["lsi"], rtol=1e-8)


def test_the_model_has_plain_weights(wide):
    X, y = wide
    probe = lapsi.LaplaceSampleInformation(weight_decay=0.05, standardize="none", verify=0).fit(X, y)
    assert probe.coef_.shape == (C, D)
    assert_allclose(softmax(X @ probe.coef_.T + probe.intercept_, 1), probe.predict_proba(X), rtol=1e-9)


def test_a_plan_is_that_of_the_span_and_says_so():
    wide, square = Work(100, 5001, 4, 3, 100), Work(100, 101, 4, 3, 100)
    assert wide.n_coordinates == 100
    assert wide.notes() == [("features", "5,000, taken in the span of the 100 samples (exact)")]
    assert square.n_coordinates == 100
    assert Work(100, 50, 4, 3, 100).notes() == []


def test_the_weight_decay_is_sought_on_samples_fewer_than_features(wide, monkeypatch):
    """Of some samples in their span, then of all, plain: each starts where the other ended."""
    monkeypatch.setattr(regularization, "SOME_ROWS", 60)
    monkeypatch.setattr(regularization, "AFFORDABLE_FLOP", 0.0)
    monkeypatch.setattr(regularization, "FOLDS_ABOVE", 0.0)
    rng = np.random.default_rng(1)
    y = np.arange(100) % C
    X = rng.normal(size=(100, D)) + 2 * np.eye(C, D)[y]
    found = lapsi.score(X, y, verify=0, progress=False).provenance.regularization
    assert {trial["n_trained"] for trial in found["trials"]} == {50, 100}
    assert found["chosen"]["n_trained"] == 100
