"""Removing whole groups against brute force: retrained without the group, every matrix formed."""

import numpy as np
import pandas as pd
import pytest
import torch

import lapsi
import oracles
from lapsi.engines.groups import steps as group_module
from lapsi.engines.groups.steps import group_shift
from lapsi.training.newton import fit_map

RELATIVE = 1e-7
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
    scores = lapsi.score(inputs[:, :-1], labels, weight_decay=DECAY, progress=False)
    table = lapsi.leave_group_out(inputs[:, :-1], labels, np.arange(60), weight_decay=DECAY, progress=False)
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
    every = lapsi.leave_group_out(inputs[:, :-1], labels, groups, weight_decay=DECAY, progress=False)
    table = lapsi.leave_group_out(inputs[:, :-1], labels, some, weight_decay=DECAY, progress=False)
    pd.testing.assert_frame_equal(table, every.drop(index="dan"))


def test_a_group_is_not_the_sum_of_its_members():
    """Two copies of one rare sample: each looks redundant, both together do not."""
    inputs, labels = oracles.make_data(40, 3, 2, seed=5, noise=0.5)
    rare = inputs[:1, :-1] + 4.0
    X, y = np.concatenate([inputs[:, :-1], rare, rare]), np.concatenate([labels, [1 - labels[0]] * 2])
    scores = lapsi.score(X, y, weight_decay=1e-3, progress=False)
    groups = np.where(np.arange(42) >= 40, "pair", "rest")
    table = lapsi.leave_group_out(X, y, groups, weight_decay=1e-3, progress=False)
    assert table.loc["pair", "lsi"] > 2 * scores.lsi[40:].sum()


def test_fitted_anew_where_steps_do_not_shrink(make_problem, data, monkeypatch):
    inputs, labels, groups = data
    problem = make_problem(inputs, labels, 3, DECAY)
    fit = fit_map(problem)
    indices = torch.as_tensor(np.flatnonzero(groups == "bob"))
    expected = group_shift(problem, fit.params, fit.hessian, indices)
    monkeypatch.setattr(group_module, "SHRINKS_BELOW", 0.0)
    torch.testing.assert_close(group_shift(problem, fit.params, fit.hessian, indices), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("groups", "message"),
    [(["a"] * 60, "1 group for 60 samples; expected"), ([None] * 60, "0 group"), (["a", "b"], "2 values of 'group'")],
)
def test_errors(data, groups, message):
    inputs, labels, _ = data
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.leave_group_out(inputs[:, :-1], labels, pd.Series(groups), progress=False)
