"""Removing whole groups against brute force: retrained without the group, every matrix formed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import lapsi
import oracles
from lapsi.engines.groups import engine as engine_module
from lapsi.engines.groups import steps
from lapsi.engines.groups.engine import groups_fit
from lapsi.engines.groups.steps import factor_solve, low_rank_solve, settle
from lapsi.settings.settings import Settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

RELATIVE = 1e-7
SHIFT = 1e-8
DECAY = 0.05


@pytest.fixture(scope="module")
def data():
    inputs, labels = oracles.make_data(60, 3, 3, seed=3)
    groups = np.array(["ann", "bob", "cid", "dan"])[np.random.default_rng(0).integers(0, 4, 60)]
    return inputs, labels, groups


def brute_force(inputs, labels, gone, structure, prior_precision, removal):
    n, left = len(labels), (~gone).sum()
    whole = oracles.train(inputs, labels, 3, DECAY)
    total = (left if removal == "mean" else n) * DECAY
    without = oracles.train(inputs[~gone], labels[~gone], 3, total / left, whole)
    prior, prior_left = (n * DECAY, total) if prior_precision == "map" else (prior_precision,) * 2
    before = oracles.precision(structure, whole, inputs, 3, prior)
    after = oracles.precision(structure, without, inputs[~gone], 3, prior_left)
    return oracles.kl(without - whole, before, after), without


@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize(("prior_precision", "removal"), [("map", "mean"), ("map", "sum"), (0.7, "mean")])
def test_against_brute_force(data, structure, prior_precision, removal):
    inputs, labels, groups = data
    table = lapsi.leave_group_out(
        inputs[:, :-1], labels, groups, curvature=structure, weight_decay=DECAY, prior_precision=prior_precision,
        removal=removal, standardize=False, progress=False,
    )  # fmt: skip
    assert sorted(table.index) == ["ann", "bob", "cid", "dan"]
    assert table["lsi"].is_monotonic_decreasing
    for name, row in table.iterrows():
        gone = groups == name
        (mean, curvature), without = brute_force(inputs, labels, gone, structure, prior_precision, removal)
        np.testing.assert_allclose(row["lsi_mean"], mean, rtol=RELATIVE)
        np.testing.assert_allclose(row["lsi_curvature"], curvature, rtol=RELATIVE)
        assert row["samples"] == gone.sum()
        predicted = (inputs[gone] @ without.reshape(3, -1).T).argmax(1)
        assert row["held_out_accuracy"] == pytest.approx((predicted == labels[gone]).mean())


@pytest.mark.slow
def test_groups_of_one_are_samples(data):
    inputs, labels, _ = data
    scores = lapsi.score(inputs[:, :-1], labels, standardize="each", weight_decay=DECAY, progress=False)
    table = lapsi.leave_group_out(inputs[:, :-1], labels, np.arange(60), standardize="each", weight_decay=DECAY, progress=False)
    np.testing.assert_allclose(table["lsi"].sort_index(), scores.lsi, rtol=1e-4)  # scores are converged to 1e-5 of the shift


def test_a_whole_class_may_leave(data):
    inputs, labels, _ = data
    table = lapsi.leave_group_out(inputs[:, :-1], labels, labels, weight_decay=DECAY, standardize=False, progress=False)
    (mean, curvature), _ = brute_force(inputs, labels, labels == 2, "diag", "map", "mean")
    np.testing.assert_allclose(table.loc[2, "lsi"], mean + curvature, rtol=RELATIVE)
    assert np.isnan(table.loc[2, "held_out_accuracy"])  # nobody can know a class that is not there


def test_samples_without_a_group_stay(data):
    inputs, labels, groups = data
    some = pd.Series(groups).where(groups != "dan")
    every = lapsi.leave_group_out(inputs[:, :-1], labels, groups, standardize="each", weight_decay=DECAY, progress=False)
    table = lapsi.leave_group_out(inputs[:, :-1], labels, some, standardize="each", weight_decay=DECAY, progress=False)
    pd.testing.assert_frame_equal(table, every.drop(index="dan"))


def test_a_group_is_not_the_sum_of_its_members():
    """Two copies of one rare sample: each looks redundant, both together do not."""
    inputs, labels = oracles.make_data(40, 3, 2, seed=5, noise=0.5)
    rare = inputs[:1, :-1] + 4.0
    X, y = np.concatenate([inputs[:, :-1], rare, rare]), np.concatenate([labels, [1 - labels[0]] * 2])
    scores = lapsi.score(X, y, standardize="each", weight_decay=1e-3, progress=False)
    groups = np.where(np.arange(42) >= 40, "pair", "rest")
    table = lapsi.leave_group_out(X, y, groups, standardize="each", weight_decay=1e-3, progress=False)
    assert table.loc["pair", "lsi"] > 2 * scores.lsi[40:].sum()


def settled_both_ways(problem, rows):
    """Shifts (F, D) and what remains of them, by a low-rank update and by a factorisation."""
    fit = fit_map(problem)
    inverse, unit = invert(reduced_hessian(fit)), torch.as_tensor(rows)[None]
    for solve in (low_rank_solve(problem, fit.params, inverse, unit), factor_solve(fit, unit)):
        shift, remaining = settle(problem, fit.params, unit, solve)
        yield shift[0], remaining.item()


def refitted(problem, rows):
    return fit_map(problem.remove(torch.as_tensor(rows))).params - fit_map(problem).params


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("size", [1, 3, 12])
def test_both_ways_lead_to_the_optimum_without_the_group(make_problem, data, size, removal):
    inputs, labels, _ = data
    problem = make_problem(inputs, labels, 3, DECAY, removal=removal)
    expected = refitted(problem, range(size))
    for shift, remaining in settled_both_ways(problem, range(size)):
        assert remaining < 1e-10
        torch.testing.assert_close(shift, expected, rtol=SHIFT, atol=1e-12)


def test_fitted_anew_where_steps_run_away(make_problem, data, monkeypatch):
    """All but one of a class: the Newton step goes so far that the next ones grow."""
    inputs, labels, _ = data
    problem, rows = make_problem(inputs, labels, 3, 1e-3), np.flatnonzero(labels == 0)[:-1]
    anew = []
    monkeypatch.setattr(steps, "fit_map", lambda *given: anew.append(given) or fit_map(*given))
    advanced = []
    fit, unit = fit_map(problem), torch.as_tensor(rows)[None]
    for solve in (low_rank_solve(problem, fit.params, invert(reduced_hessian(fit)), unit), factor_solve(fit, unit)):
        assert steps.approach(problem, fit.params, unit, solve, lambda _: None)[1].isinf().all()
        shift, remaining = settle(problem, fit.params, unit, solve, advanced.append)
        assert remaining.item() < 1e-9
        torch.testing.assert_close(shift[0], refitted(problem, rows), rtol=SHIFT, atol=1e-10)
    assert len(anew) == 2
    assert sum(advanced) == 2


def test_fitted_anew_where_the_hessian_without_the_group_has_no_factor(make_problem, data):
    """As rounding may leave it: its steps are no numbers."""
    inputs, labels, groups = data
    problem, unit = make_problem(inputs, labels, 3, DECAY), torch.as_tensor(np.flatnonzero(groups == "bob"))[None]
    fit = fit_map(problem)
    solve = factor_solve(replace(fit, hessian=-fit.hessian), unit)
    shift, _ = settle(problem, fit.params, unit, solve)
    torch.testing.assert_close(shift[0], refitted(problem, unit[0]), rtol=SHIFT, atol=1e-12)


def test_what_weighs_nothing_moves_nothing(make_problem, data):
    inputs, labels, _ = data
    weights = torch.ones(60, dtype=torch.float64)
    weights[:2] = 0.0
    problem = replace(make_problem(inputs, labels, 3, DECAY), weights=weights)
    for shift, remaining in settled_both_ways(problem, [0, 1]):
        assert shift.abs().max() == 0
        assert remaining == 0


def test_a_group_gives_the_same_beside_any_others(make_problem, data):
    inputs, labels, _ = data
    fit = groups_fit(fit_map(make_problem(inputs, labels, 3, DECAY)), Settings())
    groups = [torch.arange(start, start + size) for start, size in ((0, 1), (1, 4), (5, 2), (7, 20), (27, 3))]

    def lsi(units):
        values = np.full(len(units), np.nan)
        for removed in fit.remove(units, fit.parts(len(units))[0], lambda _: None):
            values[removed.positions] = fit.curvature.divergence(removed).total
        return values

    np.testing.assert_allclose(lsi(groups), [lsi([rows])[0] for rows in groups], rtol=1e-9)


def test_some_groups_are_checked_against_models_fitted_anew(data):
    inputs, labels, groups = data
    given = {"weight_decay": DECAY, "progress": False}
    checked = lapsi.leave_group_out(inputs[:, :-1], labels, groups, **given).attrs["verification"]
    assert len(checked["rows"]) == 3
    assert set(checked["rows"]) < {"ann", "bob", "cid", "dan"}
    assert 0 < checked["max_relative_error"] < 1e-8
    assert checked["reference"] == "fitted anew"
    one = lapsi.leave_group_out(inputs[:, :-1], labels, groups, verify=1, **given)
    assert one.attrs["verification"]["rows"] == [one.index[0]]
    assert "verification" not in lapsi.leave_group_out(inputs[:, :-1], labels, groups, verify=0, **given).attrs


def test_a_wrong_value_is_told_by_the_check(data, monkeypatch):
    inputs, labels, groups = data
    real = engine_module.settle
    monkeypatch.setattr(engine_module, "settle", lambda *given: (1.01 * real(*given)[0], real(*given)[1]))
    table = lapsi.leave_group_out(inputs[:, :-1], labels, groups, weight_decay=DECAY, progress=False)
    assert 0.005 < table.attrs["verification"]["max_relative_error"] < 0.03


@pytest.mark.parametrize(
    ("groups", "message"),
    [(["a"] * 60, "1 group for 60 samples; expected"), ([None] * 60, "0 group"), (["a", "b"], "2 values of 'group'")],
)
def test_errors(data, groups, message):
    inputs, labels, _ = data
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.leave_group_out(inputs[:, :-1], labels, pd.Series(groups), progress=False)
