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
from lapsi.curvature.slope import dense_slope, share_along
from lapsi.data.dataset import make_dataset
from lapsi.data.standardize import standardizer_of
from lapsi.engines.base import Plan
from lapsi.engines.local import engine, plan, steps
from lapsi.engines.local.engine import local_fit
from lapsi.engines.local.inverse import local_inverse
from lapsi.engines.newton.steps import DenseStep
from lapsi.engines.removal.base import removed_of
from lapsi.engines.removal.chord import approach, settle
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CONVERGED
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

CLASSES = 6
NOTHING = Cuts(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-4, CLASSES, CLASSES)
CONVERGES = {"coupled": CLASSES, "converges": True}
FLOAT32 = {"rtol": 2e-4, "atol": 2e-6}
SCALED = {"weight_decay": 0.01, "standardize": "each"}
QUIET = {"weight_decay": 0.01, "standardize": "each", "progress": False}


@pytest.fixture
def problem(make_problem):
    """Six classes in contrasts."""
    return make_problem(*oracles.make_data(120, 4, CLASSES, seed=5), CLASSES, 0.02)


@pytest.fixture
def whole(problem, monkeypatch):
    """The engine with all outputs coupled and nothing left out, and the dense optimum in outputs."""
    monkeypatch.setattr(engine, "DENSE", NOTHING)
    made = local_fit(problem.in_outputs(), Settings(engine=Local()), Plan(Cost(0, 0, {}), CONVERGES), Stages(False))
    return made, fit_map(problem.in_outputs())


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
    exact = DenseStep(problem, fit.params, invert(reduced_hessian(fit))).removal(rows)
    found = local.step.removal(rows)
    expected, shift = problem.model.weights(exact.newton_step()), found.newton_step()
    error = (shift.double() - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-4
    assert_close(found.leverage, exact.leverage, rtol=1e-4, atol=1e-6)
    gradient = torch.randn(len(rows), CLASSES, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient -= gradient.mean(1, keepdim=True)  # what the loss does not see only the weight decay holds
    expected = problem.model.weights(exact.solve(torch.einsum("nck,cm->nmk", gradient, problem.likelihood.basis)))
    assert_close(found.solve(gradient), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_slope_is_the_whole_derivative(whole):
    local, fit = whole
    shift = torch.randn(3, CLASSES, 5, generator=torch.Generator().manual_seed(0))
    dense = dense_slope(local.problem, fit.params, torch.float64)
    expected = dense.change(shift.double()).float()
    assert_close(local.curvature.slope.change(shift).float(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_samples_that_are_fitted_anew_are_at_their_leave_one_out_optimum(whole):
    local, fit = whole
    removal = local.step.removal(torch.tensor([3, 50, 119]))
    near, far = torch.zeros(3, CLASSES, 5, dtype=torch.float64), torch.tensor([torch.inf, 0.5, torch.inf])
    shift, remaining = removal.refit(near, far.double(), 1e-8)
    for row in (0, 2):
        expected = fit_map(local.problem.remove(removal.rows[row : row + 1]), fit.params).params - fit.params
        assert float((shift[row] - expected).norm() / expected.norm()) < 1e-6
        assert float(remaining[row]) <= 1e-8
    assert_close(shift[1], near[1])  # what is near enough stays
    assert float(remaining[1]) == 0.5


def test_steps_by_few_columns_arrive(many):
    """Where the inverse leaves outputs out, steps contract slowly, and arrive; what comes too slowly is fitted anew."""
    problem = small_problem(many).in_outputs()
    fit = local_fit(problem, Settings(engine=Local()), Plan(Cost(0, 0, {}), {"coupled": 4, "converges": True}), Stages(False))
    removal = fit.step.removal(torch.arange(0, 600, 40))
    exact, remaining = settle(removal, 1e-10)
    assert float(remaining.max()) <= 1e-8
    came = approach(removal, 1e-3)
    arrived = came.remaining.isfinite()
    found, truth = (
        fit.curvature.divergence(removed_of(removal, np.arange(15), shift, CONVERGED)).total for shift in (came.shift, exact)
    )
    assert float(arrived.double().mean()) > 0.8
    assert float((found / truth - 1).abs()[arrived].max()) < 2e-3


def small_problem(data):
    """The problem of the probe of some data, features of one scale."""
    settings = make_settings(weight_decay=0.01, standardize="each")
    dataset = make_dataset(*data)
    return linear_problem(dataset, standardizer_of(dataset.survey, "each"), settings)


def test_what_does_not_arrive_with_others_is_fitted_alone(whole, monkeypatch):
    local, fit = whole
    nowhere = torch.zeros(1, CLASSES, 5).double(), torch.full((1,), torch.inf).double()
    monkeypatch.setattr(steps, "approach", lambda *_, **__: nowhere)
    removal = local.step.removal(torch.tensor([7]))
    shift, remaining = removal.refit(*nowhere, 1e-8)
    expected = fit_map(local.problem.remove(removal.rows), fit.params).params - fit.params
    assert float((shift[0] - expected).norm() / expected.norm()) < 1e-7
    assert float(remaining[0]) < 1e-7


def test_many_classes_are_ranked_as_by_the_closed_form(many, nothing_is_small, monkeypatch):
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, **QUIET)
    found = lapsi.score(*many, engine="local", converge=20, tolerance=1e-4, verify=12, **QUIET)
    errors = abs(found.lsi / exact.lsi - 1)
    assert spearmanr(found.lsi, exact.lsi)[0] > 0.997
    assert np.median(errors) < 0.06
    is_converged = (found.table["refinement"] == "converged").to_numpy()
    assert is_converged.sum() == 20
    assert errors[is_converged].max() < 1e-4
    assert np.isin(np.argsort(-exact.lsi)[:10], np.flatnonzero(is_converged)).all()
    checked = found.provenance.verification
    assert checked["failure"] == ""
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


def test_rows_above_the_tolerance_are_refined_until_below(many, monkeypatch):
    monkeypatch.setattr(plan, "CONVERGE_FLOOR", 0.0)
    monkeypatch.setattr(plan, "BUDGET_SHARE", 1e9)
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, **QUIET)
    found = lapsi.score(*many, engine="local", tolerance=1e-2, verify=0, **QUIET)
    assert abs(found.lsi / exact.lsi - 1).max() <= 1e-2
    assert found.table["lsi_error"].max() <= 1e-2
    assert found.provenance.plan["n_above"] == 0


def test_all_are_refined_whatever_that_takes(many, nothing_is_small):
    found = lapsi.score(*many, engine="local", tolerance=1e-2, converge="all", indices=range(0, 600, 7), verify=0, **QUIET)
    assert found.table["lsi_error"].max() <= 1e-2
    assert set(found.table["refinement"]) == {"converged"}
    with pytest.raises(lapsi.InputError, match="converge is 'many'"):
        lapsi.score(*many, engine="local", converge="many", **QUIET)


def test_estimates_are_honest(many, nothing_is_small):
    exact = lapsi.score(*many, tolerance=1e-8, verify=0, **QUIET)
    table = lapsi.score(*many, engine="local", verify=0, **QUIET).table
    errors = abs(table["lsi"] / exact.lsi - 1)
    assert (errors <= table["lsi_error"]).mean() > 0.95
    assert (errors / table["lsi_error"]).max() < 5


def test_what_the_budget_reaches_is_of_the_largest_errors(many, nothing_is_small, monkeypatch):
    closed = lapsi.score(*many, engine="local", verify=0, **QUIET).table["lsi_error"].to_numpy()
    monkeypatch.setattr(plan, "CONVERGING_PASSES", 1e-3)
    monkeypatch.setattr(plan, "BUDGET_SHARE", 1e-4)
    found = lapsi.score(*many, engine="local", verify=0, **QUIET)
    converged = np.flatnonzero(found.table["refinement"] == "converged")
    assert 5 < len(converged) < 500
    assert set(converged) == set(np.argsort(-closed)[: len(converged)])
    assert found.provenance.plan["n_above"] == (found.table["lsi_error"] > 1e-3).sum() > 0


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
    step = replace(local.step, cuts=replace(NOTHING, of_support=0.1, of_gradient=0.1))
    together = step.removal(torch.arange(40))
    shift, gradient = together.newton_step(), torch.randn(40, CLASSES, 5, generator=torch.Generator().manual_seed(0))
    for row in (3, 17):
        alone = step.removal(torch.tensor([row]))
        assert_close(alone.newton_step()[0], shift[row], rtol=1e-5, atol=1e-6)
        assert_close(alone.solve(gradient[row : row + 1])[0], together.solve(gradient)[row], rtol=1e-5, atol=1e-6)
        assert_close(alone.leverage[0], together.leverage[row])
    slope = replace(local.curvature.slope.rough, left_out=0.1)
    assert_close(slope.change(shift)[3], slope.change(shift[3:4])[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(slope.change(shift), local.curvature.slope.rough.change(shift), rtol=1e-2)


def test_what_all_shifts_share_is_no_error_of_those_that_hardly_move():
    """Of samples far from every boundary nothing but the lost weight decay moves the curvature: over all outputs alike."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 12
    X = 4 * np.eye(12)[y] + rng.normal(size=(600, 12))
    dataset = make_dataset(X, y)
    problem = linear_problem(dataset, standardizer_of(dataset.survey, "each"), make_settings("local", **SCALED))
    local = local_fit(
        problem, Settings(engine=Local(4)), Plan(Cost(0, 0, {}), {"coupled": 4, "converges": True}), Stages(False)
    )
    slope, step = local.curvature.slope, local.step
    exact = dense_slope(step.problem, step.params, torch.float64).change(step.pull[None])
    size = float(exact.abs().max())
    assert_close(slope.change(step.pull[None]).double(), exact, rtol=0, atol=1e-6 * size)
    assert float((slope.rough.change(step.pull[None].float()) - exact).abs().max()) > 0.01 * size
    across = torch.randn(2, *step.pull.shape, generator=torch.Generator().manual_seed(0))
    across -= share_along(across, slope.along).float()[:, None, None] * step.pull.float()
    assert_close(slope.change(across), slope.rough.change(across), rtol=1e-4, atol=1e-4)
