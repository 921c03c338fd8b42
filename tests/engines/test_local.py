"""Engine local: with all outputs coupled it is the closed form; with few of them near it, and converged where asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from torch.testing import assert_close

import lapsi
import oracles
from lapsi.curvature.blocks import LOCAL, Cuts, nearest_outputs, samples_of
from lapsi.curvature.slope import dense_slope
from lapsi.engines.local import engine, plan, steps
from lapsi.engines.local.engine import local_fit
from lapsi.engines.local.inverse import local_inverse
from lapsi.engines.local.steps import Converging, converged
from lapsi.engines.newton.steps import Optimum, removal_of
from lapsi.execution.progress import Stages
from lapsi.training.newton import fit_map, invert, reduced_hessian

CLASSES = 6
NOTHING = Cuts(0.0, 0.0, 0.0, 0.0, 0.0, CLASSES)
FLOAT32 = {"rtol": 2e-4, "atol": 2e-6}
QUIET = {"weight_decay": 0.01, "standardize": "each", "progress": False}


@pytest.fixture
def problem(make_problem):
    """Six classes in contrasts."""
    return make_problem(*oracles.make_data(120, 4, CLASSES, seed=5), CLASSES, 0.02)


@pytest.fixture
def whole(problem, monkeypatch):
    """The engine with all outputs coupled and nothing left out, and the dense optimum in outputs."""
    monkeypatch.setattr(engine, "DENSE", NOTHING)
    return local_fit(problem.in_outputs(), CLASSES, Converging(), Stages(False)), fit_map(problem.in_outputs())


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
    local, fit = whole
    step = local.step
    inverse = invert(reduced_hessian(fit)).view(CLASSES, 5, CLASSES, 5)
    assert_close(step.inverse.matrix, inverse.float(), **FLOAT32)
    solved = torch.linalg.solve(reduced_hessian(fit), fit.params.flatten()).view_as(fit.params)
    assert_close(step.pull, solved, rtol=1e-6, atol=1e-9)


def test_few_columns_are_the_inverse_of_their_part(problem):
    outputs = problem.in_outputs()
    fit = fit_map(outputs)
    samples = samples_of(outputs, fit.params, NOTHING)
    nearest = nearest_outputs(samples, 3)
    hessian = reduced_hessian(fit).view(CLASSES, 5, CLASSES, 5)
    l2 = outputs.objective.l2(outputs.total) - outputs.objective.l2_drop(1.0)
    found = local_inverse(samples, nearest, l2)
    for output, others in enumerate(nearest.tolist()):
        part = hessian[others][:, :, others].reshape(15, 15)
        expected = torch.linalg.inv(part)[:, :5].reshape(3, 5, 5).float()
        assert_close(found.columns[output], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_the_nearest_outputs_are_the_most_coupled(problem):
    outputs = problem.in_outputs()
    params = fit_map(outputs).params
    p = torch.softmax(outputs.inputs @ params.T, 1)
    strength = (p.T @ p).fill_diagonal_(torch.inf)
    assert_close(nearest_outputs(samples_of(outputs, params, LOCAL), 4), strength.topk(4, dim=1).indices)


def test_the_step_is_the_closed_form(problem, whole):
    local, _ = whole
    fit, rows = fit_map(problem), torch.arange(0, 120, 7)
    exact = removal_of(Optimum(problem, fit.params, invert(reduced_hessian(fit))), rows)
    found = local.step.removed(rows, np.arange(len(rows)))
    expected = problem.model.weights(exact.newton_step())
    error = (found.shift.double() - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-4
    assert_close(found.diagnostics["leverage"], exact.leverage(), rtol=1e-4, atol=1e-6)
    assert_close(found.outputs[:, 0], problem.outputs(fit.params, rows) + oracles_change(expected, problem, rows), **FLOAT32)


def oracles_change(shift, problem, rows):
    return torch.einsum("nck,nk->nc", shift, problem.inputs[rows])


def test_the_slope_is_the_whole_derivative(whole):
    local, fit = whole
    shift = torch.randn(3, CLASSES, 5, generator=torch.Generator().manual_seed(0))
    dense = dense_slope(local.problem, fit.params, torch.float64)
    expected = dense.change(shift.double()).float()
    assert_close(local.curvature.slope.change(shift), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_converged_samples_are_at_their_leave_one_out_optimum(problem, whole):
    local, fit = whole
    rows = torch.tensor([3, 50, 119])
    (found,) = converged(local.step, rows, np.arange(3))
    for row, shift in zip(rows, found.shift, strict=True):
        expected = fit_map(local.problem.remove(row[None]), fit.params).params - fit.params
        assert float((shift - expected).norm() / expected.norm()) < 1e-6
    assert float(found.remaining.max()) <= 1e-8


def test_what_does_not_converge_is_no_reference(whole, monkeypatch):
    local, _ = whole
    monkeypatch.setattr(steps, "approach", lambda *_: (torch.zeros(1, CLASSES, 5), torch.full((1,), torch.inf)))
    with pytest.raises(lapsi.ConvergenceError, match="optimum of row 7 was not reached"):
        list(converged(local.step, torch.tensor([7]), np.arange(1)))


@pytest.fixture
def nothing_is_small(monkeypatch):
    """Data of any size are left to the closed form."""
    monkeypatch.setattr(plan, "CONVERGE_FLOOR", 0.0)
    monkeypatch.setattr(plan, "DOUBTFUL_SHARE", 0.0)


def test_many_classes_are_ranked_as_by_the_closed_form(many, nothing_is_small, monkeypatch):
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, **QUIET)
    found = lapsi.score(*many, engine="local", converge=20, verify=12, **QUIET)
    errors = abs(found.lsi / exact.lsi - 1)
    assert spearmanr(found.lsi, exact.lsi)[0] > 0.997
    assert np.median(errors) < 0.06
    is_converged = (found.table["refinement"] == "converged").to_numpy()
    assert is_converged.sum() == 20
    assert errors[is_converged].max() < 1e-5
    assert np.isin(np.argsort(-exact.lsi)[:10], np.flatnonzero(is_converged)).all()
    checked = found.provenance.verification
    assert checked["failure"] == ""
    assert checked["max_relative_error_suspected"] is None  # of most rows no error is estimated
    assert_allclose(checked["max_relative_error"], errors[list(checked["rows"])].max(), rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(engine, "LOCAL", replace(LOCAL, of_support=1e-5))
    few = lapsi.score(*many, engine="local", coupled=4, verify=0, **QUIET)
    more = lapsi.score(*many, engine="local", coupled=16, verify=0, **QUIET)
    assert np.median(abs(more.lsi / exact.lsi - 1)) < 0.7 * np.median(abs(few.lsi / exact.lsi - 1))


def test_labels_that_are_independent_need_no_others(many, nothing_is_small, monkeypatch):
    """The Hessian of several labels a sample has no blocks beside its diagonal: local is the closed form."""
    monkeypatch.setattr(engine, "LOCAL", replace(LOCAL, of_support=1e-5))
    X, y = many
    bits = (y[:, None] >> np.arange(4)) & 1
    weights = np.linspace(0.5, 2.0, len(y))
    options = {"task": "multilabel", "sample_weight": weights, "verify": 0, **QUIET}
    expected = lapsi.score(X, bits, refine=0, **options)
    found = lapsi.score(X, bits, engine="local", coupled=1, **options)
    assert abs(found.lsi / expected.lsi - 1).max() < 5e-3
    assert np.median(abs(found.lsi / expected.lsi - 1)) < 1e-3


def test_numbers_are_left_out_exactly(many, nothing_is_small):
    X, _ = many
    targets = X[:, :3] @ np.random.default_rng(0).normal(size=(3, 2)) + np.random.default_rng(1).normal(size=(len(X), 2))
    expected = lapsi.score(X, targets, verify=0, **QUIET)
    found = lapsi.score(X, targets, engine="local", coupled=1, verify=0, **QUIET)
    assert_allclose(found.lsi, expected.lsi, rtol=1e-3)


def test_leverage_among_few_outputs_is_symmetric_and_nothing_beyond_them(problem):
    outputs = problem.in_outputs()
    samples = samples_of(outputs, fit_map(outputs).params, LOCAL)
    found = local_inverse(samples, nearest_outputs(samples, 3), 1.0)
    inputs, support = outputs.inputs[:7], torch.tensor([[0, 1, 2, 3, 4, 5]]).expand(7, 6)
    gram = found.forms(inputs, support)
    whole = torch.zeros(CLASSES, CLASSES, 7, dtype=torch.float64)
    for output, others in enumerate(found.nearest.tolist()):
        whole[others, output] = torch.einsum("nk,pkl,nl->pn", inputs, found.columns[output].double(), inputs)
    assert_close(gram, 0.5 * (whole + whole.transpose(0, 1)).permute(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert float((whole - whole.transpose(0, 1)).abs().max()) > 1e-3


def test_all_of_small_data_are_converged(many):
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, indices=range(0, 600, 20), **QUIET)
    found = lapsi.score(*many, engine="local", verify=0, indices=range(0, 600, 20), **QUIET)
    assert set(found.table["refinement"]) == {"converged"}
    assert_allclose(found.lsi, exact.lsi, rtol=1e-5)


def test_samples_of_high_leverage_are_converged(many, monkeypatch):
    monkeypatch.setattr(plan, "CONVERGE_FLOOR", 0.0)
    monkeypatch.setattr(plan, "DOUBTFUL_SHARE", 1e9)
    monkeypatch.setattr(steps, "HIGH_LEVERAGE", 0.3)
    found = lapsi.score(*many, engine="local", verify=0, **QUIET)
    is_converged = (found.table["refinement"] == "converged").to_numpy()
    leverage = found.table["leverage"].to_numpy()
    assert 5 < is_converged.sum() < 100
    assert leverage[is_converged].min() > 0.3
    assert leverage[~is_converged].max() <= 0.3


def test_samples_are_chosen_by_their_move_then_by_their_leverage():
    moved, leverage = np.array([1.0, 5.0, 3.0, 2.0, 0.5, 0.1]), np.array([0.9, 0.9, 0.1, np.nan, 0.6, 0.5])
    assert Converging(2, 2).of(moved, leverage).tolist() == [1, 2, 3, 0]
    assert Converging(0, 9).of(moved, leverage).tolist() == [3, 0, 1, 4]
    assert Converging(0, 0).of(moved, leverage).tolist() == []


def test_doubtful_samples_that_are_not_converged_are_told(many, nothing_is_small, monkeypatch):
    monkeypatch.setattr(steps, "HIGH_LEVERAGE", 0.3)
    table = lapsi.score(*many, engine="local", verify=0, **QUIET).table
    doubtful = table["leverage"] > 0.3
    assert_allclose(table.loc[doubtful, "lsi_error"], 2 * table.loc[doubtful, "leverage"])
    assert table.loc[~doubtful, "lsi_error"].isna().all()


@pytest.mark.parametrize(("left_out", "expected"), [(0.0, [4, 4]), (0.02, [3, 2]), (0.5, [2, 2])])
def test_a_support_holds_all_but_a_share(left_out, expected):
    shares = torch.tensor([[0.1, 5.0, 4.0, 0.9], [0.0, 0.01, 8.0, 2.0]])
    assert steps.support_sizes(shares, left_out).tolist() == expected


def test_few_samples_need_many_outputs(many, nothing_is_small):
    """Chunks go by the number of outputs that samples say something of; each sample is done once."""
    X, y = many
    found = lapsi.score(X, y, engine="local", coupled=30, verify=0, **QUIET)
    exact = lapsi.score(X, y, refine=0, verify=0, **QUIET)
    assert np.median(abs(found.lsi / exact.lsi - 1)) < 1e-3
    assert abs(found.lsi / exact.lsi - 1).max() < 1e-2


def test_a_sample_alone_has_the_row_that_it_has_among_others(whole, many):
    local, _ = whole
    step = replace(local.step, left_out=0.1)
    together = step.removed(torch.arange(40), np.arange(40))
    for row in (3, 17):
        alone = step.removed(torch.tensor([row]), np.arange(1))
        assert_close(alone.shift[0], together.shift[row], rtol=1e-5, atol=1e-6)
        assert_close(alone.diagnostics["leverage"][0], together.diagnostics["leverage"][row])
    slope = replace(local.curvature.slope, left_out=0.1)
    assert_close(slope.change(together.shift)[3], slope.change(together.shift[3:4])[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(slope.change(together.shift), local.curvature.slope.change(together.shift), rtol=1e-2)
