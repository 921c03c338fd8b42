"""Engine local: with all outputs coupled it is the closed form; with few of them near it, and converged where asked."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from torch.testing import assert_close

import lapsi
import oracles
from lapsi.curvature.diag import diag_curvature
from lapsi.engines.local import blocks, steps
from lapsi.engines.local.blocks import nearest_outputs, samples_of
from lapsi.engines.local.engine import local_fit
from lapsi.engines.local.inverse import local_inverse
from lapsi.engines.local.steps import converged
from lapsi.engines.newton.steps import Optimum, removal_of
from lapsi.execution.progress import Stages
from lapsi.settings.engine import Local
from lapsi.training.newton import fit_map, invert, reduced_hessian

CLASSES = 6
FLOAT32 = {"rtol": 2e-4, "atol": 2e-6}
QUIET = {"weight_decay": 0.01, "standardize": "each", "progress": False}


@pytest.fixture
def problem(make_problem):
    """Six classes in contrasts."""
    return make_problem(*oracles.make_data(120, 4, CLASSES, seed=5), CLASSES, 0.02)


@pytest.fixture
def whole(problem, monkeypatch):
    """The engine with all outputs coupled and no sample left out of a block, and the dense optimum in outputs."""
    monkeypatch.setattr(blocks, "LEFT_OUT", 0.0)
    return local_fit(problem.in_outputs(), Local(coupled=CLASSES), Stages(False)), fit_map(problem.in_outputs())


@pytest.fixture(scope="module")
def many():
    """600 samples of 30 classes in 8 dimensions, a tenth of the labels wrong."""
    rng = np.random.default_rng(1)
    means, y = 3 * rng.normal(size=(30, 8)), rng.integers(30, size=600)
    X = means[y] + rng.normal(size=(600, 8))
    wrong = rng.random(600) < 0.1
    y[wrong] = rng.integers(30, size=wrong.sum())
    return X, y


def test_all_columns_are_the_inverse(whole):
    engine, fit = whole
    step = engine.step
    inverse = invert(reduced_hessian(fit)).view(CLASSES, 5, CLASSES, 5)
    for output, others in enumerate(step.inverse.nearest.tolist()):
        expected = inverse[others, :, output].float()
        assert_close(step.inverse.columns[output], expected, **FLOAT32)
    solved = torch.linalg.solve(reduced_hessian(fit), fit.params.flatten()).view_as(fit.params)
    assert_close(step.pull, solved, rtol=1e-6, atol=1e-9)


def test_few_columns_are_the_inverse_of_their_part(problem):
    outputs = problem.in_outputs()
    fit = fit_map(outputs)
    samples = samples_of(outputs, fit.params)
    nearest = nearest_outputs(samples, 3)
    hessian = reduced_hessian(fit).view(CLASSES, 5, CLASSES, 5)
    l2 = outputs.objective.l2(outputs.total) - outputs.objective.l2_drop(1.0)
    found = local_inverse(samples, nearest, l2)
    for output, others in enumerate(nearest.tolist()):
        part = hessian[others][:, :, others].reshape(15, 15)
        expected = torch.linalg.inv(part)[:, :5].reshape(3, 5, 5).float()
        assert_close(found.columns[output], expected, rtol=0, atol=5e-3 * float(expected.abs().max()))


def test_the_nearest_outputs_are_the_most_coupled(problem):
    outputs = problem.in_outputs()
    params = fit_map(outputs).params
    p = torch.softmax(outputs.inputs @ params.T, 1)
    strength = (p.T @ p).fill_diagonal_(torch.inf)
    assert_close(nearest_outputs(samples_of(outputs, params), 4), strength.topk(4, dim=1).indices)


def test_the_step_is_the_closed_form(problem, whole):
    engine, _ = whole
    fit, rows = fit_map(problem), torch.arange(0, 120, 7)
    exact = removal_of(Optimum(problem, fit.params, invert(reduced_hessian(fit))), rows)
    found = engine.step.removed(rows, np.arange(len(rows)))
    expected = problem.model.weights(exact.newton_step())
    error = (found.shift.double() - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-4
    assert_close(found.diagnostics["leverage"], exact.leverage(), rtol=1e-4, atol=1e-6)
    assert_close(found.outputs[:, 0], problem.outputs(fit.params, rows) + oracles_change(expected, problem, rows), **FLOAT32)


def oracles_change(shift, problem, rows):
    return torch.einsum("nck,nk->nc", shift, problem.inputs[rows])


def test_the_slope_is_the_whole_derivative(whole):
    engine, fit = whole
    shift = torch.randn(3, CLASSES, 5, generator=torch.Generator().manual_seed(0))
    dense = diag_curvature(engine.problem, fit.params, torch.float64).slope
    expected = dense.change(shift.double()).float()
    assert_close(engine.curvature.slope.change(shift), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_converged_samples_are_at_their_leave_one_out_optimum(problem, whole):
    engine, fit = whole
    rows = torch.tensor([3, 50, 119])
    (found,) = converged(engine.step, rows, np.arange(3))
    for row, shift in zip(rows, found.shift, strict=True):
        expected = fit_map(engine.problem.remove(row[None]), fit.params).params - fit.params
        assert float((shift - expected).norm() / expected.norm()) < 1e-6
    assert float(found.remaining.max()) <= 1e-8


def test_what_does_not_converge_is_no_reference(whole, monkeypatch):
    engine, _ = whole
    monkeypatch.setattr(steps, "approach", lambda *_: (torch.zeros(1, CLASSES, 5), torch.full((1,), torch.inf)))
    with pytest.raises(lapsi.ConvergenceError, match="optimum of row 7 was not reached"):
        list(converged(engine.step, torch.tensor([7]), np.arange(1)))


def test_many_classes_are_ranked_as_by_the_closed_form(many):
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, **QUIET)
    found = lapsi.score(*many, engine="local", converge=20, verify=12, **QUIET)
    errors = abs(found.lsi / exact.lsi - 1)
    assert spearmanr(found.lsi, exact.lsi)[0] > 0.997
    assert np.median(errors) < 0.05
    is_converged = (found.table["refinement"] == "converged").to_numpy()
    assert is_converged.sum() == 20
    assert errors[is_converged].max() < 1e-5
    assert np.isin(np.argsort(-exact.lsi)[:10], np.flatnonzero(is_converged)).all()
    checked = found.provenance.verification
    assert checked["failure"] == ""
    assert checked["max_relative_error_suspected"] is None  # of most rows no error is estimated
    assert_allclose(checked["max_relative_error"], errors[list(checked["rows"])].max(), rtol=1e-3, atol=1e-6)
    more = lapsi.score(*many, engine="local", coupled=16, verify=0, **QUIET)
    assert np.median(abs(more.lsi / exact.lsi - 1)) < np.median(errors)


def test_labels_that_are_independent_need_no_others(many):
    """The Hessian of several labels a sample has no blocks beside its diagonal: local is the closed form."""
    X, y = many
    bits = (y[:, None] >> np.arange(4)) & 1
    weights = np.linspace(0.5, 2.0, len(y))
    options = {"task": "multilabel", "sample_weight": weights, "verify": 0, **QUIET}
    expected = lapsi.score(X, bits, refine=0, **options)
    found = lapsi.score(X, bits, engine="local", coupled=1, **options)
    assert abs(found.lsi / expected.lsi - 1).max() < 5e-3
    assert np.median(abs(found.lsi / expected.lsi - 1)) < 1e-3


def test_numbers_are_left_out_exactly(many):
    X, _ = many
    targets = X[:, :3] @ np.random.default_rng(0).normal(size=(3, 2)) + np.random.default_rng(1).normal(size=(len(X), 2))
    expected = lapsi.score(X, targets, verify=0, **QUIET)
    found = lapsi.score(X, targets, engine="local", coupled=1, verify=0, **QUIET)
    assert_allclose(found.lsi, expected.lsi, rtol=1e-3)


def test_leverage_among_few_outputs_is_symmetric_and_nothing_beyond_them(problem):
    outputs = problem.in_outputs()
    samples = samples_of(outputs, fit_map(outputs).params)
    found = local_inverse(samples, nearest_outputs(samples, 3), 1.0)
    inputs, support = outputs.inputs[:7], torch.tensor([[0, 1, 2, 3, 4, 5]]).expand(7, 6)
    gram = found.forms(inputs, support)
    whole = torch.zeros(CLASSES, CLASSES, 7, dtype=torch.float64)
    for output, others in enumerate(found.nearest.tolist()):
        whole[others, output] = torch.einsum("nk,pkl,nl->pn", inputs, found.columns[output].double(), inputs)
    assert_close(gram, 0.5 * (whole + whole.transpose(0, 1)).permute(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert float((whole - whole.transpose(0, 1)).abs().max()) > 1e-3
