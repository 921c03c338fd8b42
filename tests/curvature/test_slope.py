"""How the diagonal moves with the parameters: whole, by passes over the data, and sketched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.curvature import linear, sketch
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.linear import first_order_curvature
from lapsi.curvature.sketch import SketchedSlope, sketched_slope
from lapsi.curvature.slope import DenseSlope, dense_slope, slope_times, slope_transposed_times, supports
from lapsi.models.likelihoods.bernoulli import Bernoulli
from lapsi.models.likelihoods.softmax import softmax
from lapsi.problem.linear import LinearProblem
from lapsi.problem.objective import Objective
from lapsi.training.newton import fit_map, invert, reduced_hessian

EXACT = {"rtol": 1e-11, "atol": 1e-12}
FLOAT32 = {"rtol": 1e-4, "atol": 1e-4}
N, CLASSES = 600, 6


def many(kind="classes", weights=False, spanned=False):
    inputs, labels = oracles.make_data(N, 5, CLASSES, seed=3)
    X, targets = torch.from_numpy(inputs), torch.from_numpy(labels)
    likelihood = softmax(CLASSES, torch.device("cpu"))
    if kind == "labels":
        targets, likelihood = (targets[:, None] <= torch.arange(3)).double(), Bernoulli(torch.eye(3, dtype=torch.float64))
    own = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2, N)) if weights else None
    span = torch.linalg.qr(torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0].T
    objective = Objective(0.02, "map", "mean")
    return LinearProblem(X, targets, likelihood, objective, own, None, span.contiguous() if spanned else None)


def shifts_of(problem, n=5, dtype=torch.float64):
    shape = (n, problem.model.n_directions, problem.model.n_features)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


@pytest.fixture(scope="module")
def posterior():
    problem = many()
    fit = fit_map(problem)
    return diag_curvature(problem, fit.params), invert(reduced_hessian(fit)).float()


@pytest.fixture
def nothing_is_left_out(monkeypatch):
    everything = replace(sketch.ROUGH, of_one=0.0, of_slopes=0.0, of_shift=0.0)
    monkeypatch.setattr(sketch, "ROUGH", everything)
    monkeypatch.setattr(sketch, "rough_outputs", lambda n_outputs: n_outputs)


@pytest.mark.parametrize("case", [{}, {"weights": True}, {"spanned": True}, {"kind": "labels"}])
def test_the_whole_slope_is_the_derivative_of_the_diagonal(case):
    problem = many(**case)
    params, direction = shifts_of(problem, 1)[0], shifts_of(problem, 2)[1:]
    step = 1e-5
    ahead, behind = (diag_curvature(problem, params + sign * step * direction[0]).precision.diagonal for sign in (1, -1))
    found = dense_slope(problem, params, torch.float64).change(direction)[0]
    assert_close(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [{}, {"weights": True}, {"spanned": True}, {"kind": "labels"}])
def test_passes_over_the_data_are_products_with_the_whole_slope(case, monkeypatch):
    monkeypatch.setattr("lapsi.problem.linear.BLOCK_BYTES", 2**15)  # in several blocks
    problem = many(**case)
    params, shifts = shifts_of(problem, 1)[0], shifts_of(problem)
    whole = dense_slope(problem, params, torch.float64)
    assert_close(slope_times(problem, params, shifts), whole.change(shifts), **EXACT)
    vectors = torch.randn(4, len(whole.derivative), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_close(slope_transposed_times(problem, params, vectors), vectors @ whole.derivative, **EXACT)


def test_a_sketch_that_leaves_nothing_out_is_the_whole_slope(posterior, nothing_is_left_out, monkeypatch):
    monkeypatch.setattr(sketch, "RANK", 3)
    curvature, inverse = posterior
    shifts = shifts_of(curvature.problem, dtype=torch.float32)
    expected = dense_slope(curvature.problem, curvature.map_params, torch.float64).change(shifts)
    scale = expected.abs().max()
    found = sketched_slope(curvature, inverse, 1e-4).change(shifts)
    assert_close(found / scale, (expected / scale).float(), rtol=0, atol=1e-5)


def test_a_sketch_is_exact_in_its_range_and_along_what_all_shifts_share(posterior, monkeypatch):
    """However rough the rest is: here nothing but the samples of the largest weights."""
    monkeypatch.setattr(sketch, "ROUGH", replace(sketch.ROUGH, of_slopes=3.0, of_shift=0.5))
    monkeypatch.setattr(sketch, "RANK", 8)
    curvature, inverse = posterior
    slope, shifts = sketched_slope(curvature, inverse, torch.inf), shifts_of(curvature.problem, dtype=torch.float32)
    whole = dense_slope(curvature.problem, curvature.map_params, torch.float64)
    expected = whole.change(shifts).float()
    assert float((slope.change(shifts) / expected - 1).abs().median()) > 1e-2
    assert_close(slope.change(shifts) @ slope.right, expected @ slope.right, **FLOAT32)
    common = slope.pull.view(1, CLASSES - 1, -1)
    expected = whole.change(common).float()
    assert_close(slope.change(common) / expected.norm(), expected / expected.norm(), rtol=0, atol=1e-5)


def test_a_sketch_says_how_far_lsi_is_off(posterior, monkeypatch):
    """What it reports of its own checks is what the whole slope says of other samples."""
    monkeypatch.setattr(sketch, "RANK", 8)
    curvature, inverse = posterior
    slope = sketched_slope(curvature, inverse, 0.05)
    assert isinstance(slope, SketchedSlope)
    rows = torch.arange(N)
    pull, own = sketch._influences(curvature.problem, curvature.map_params, inverse, rows)
    shift = own + curvature.problem.objective.l2_drop(torch.ones(N))[:, None, None] * pull
    whole = dense_slope(curvature.problem, curvature.map_params, torch.float64)
    found, expected = (curvature.first_order(rows[:, None], shift, each.change(shift)).total for each in (slope, whole))
    errors = (found / expected - 1).abs()
    assert 1e-7 < float(errors.median()) < 1e-2
    assert float((errors < 0.1).double().mean()) > 0.98


@pytest.mark.parametrize(("worth", "error", "dtype", "kind"), [
    (0.0, 0.05, torch.float32, SketchedSlope),
    (0.0, 1e-9, torch.float32, DenseSlope),  # not as good as was asked
    (0.0, 0.05, torch.float64, DenseSlope),
    (1e30, 0.05, torch.float32, DenseSlope),  # not worth it
])  # fmt: skip
def test_what_cannot_be_sketched_is_built(posterior, monkeypatch, worth, error, dtype, kind):
    monkeypatch.setattr(sketch, "WORTH_FLOP", worth)
    curvature, inverse = posterior
    made = first_order_curvature(curvature.problem, curvature.map_params, "diag", inverse.to(dtype), error=error)
    assert type(made.slope) is kind
    assert_close(made.precision.diagonal, curvature.precision.diagonal, rtol=0, atol=0)
    assert linear.is_worth_sketching(N, 1.0) == (worth == 0)


def test_a_support_leaves_less_than_it_may_to_the_others():
    shares = torch.tensor([[0.6, 0.3, 0.08, 0.02], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    support, counts = supports(shares, 0.05)
    assert counts.sum(1).tolist() == [3, 4, 2]
    kept = (shares.gather(1, support) * counts).sum(1)
    assert float((kept / shares.sum(1)).min()) > 0.95
