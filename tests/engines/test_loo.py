import warnings

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.engines.newton.steps import DenseStep
from lapsi.engines.removal import chord, neighbours
from lapsi.engines.removal.chord import settle
from lapsi.engines.removal.neighbours import neighbours_of
from lapsi.training import newton
from lapsi.training.newton import fit_map, invert, reduced_hessian

NEWTON_STEP = {"rtol": 1e-6, "atol": 1e-10}  # the fit itself is exact to about 1e-10
CONVERGED = {"rtol": 1e-7, "atol": 1e-10}


def optimum_of(problem):
    fit = fit_map(problem)
    return DenseStep(problem, fit.params, invert(reduced_hessian(fit)))


def converged(optimum, rows, tolerance=1e-10):
    return settle(optimum.removal(rows), tolerance)[0]


def errors_of(shift, exact):
    return (shift - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)


@pytest.mark.parametrize("removal", ["mean", "sum"])
def test_closed_form_is_the_newton_step_of_the_reduced_objective(make_problem, blobs, removal):
    inputs, labels = blobs
    problem = make_problem(inputs, labels, 3, removal=removal)
    optimum = optimum_of(problem)
    whole = problem.model.weights(optimum.params).numpy().ravel()
    leaving = optimum.removal(torch.arange(40))
    shift = leaving.newton_step()
    outputs = leaving.outputs + problem.own_output_change(leaving.rows[:, None], shift)[:, 0]
    for index in (0, 5, 39):
        keep = np.arange(40) != index
        decay = 0.05 if removal == "mean" else 0.05 * 40 / 39
        _, gradient, hessian = oracles.objective(whole, inputs[keep], labels[keep], decay)
        expected = -np.linalg.solve(hessian, gradient)
        assert_close(problem.model.weights(shift[index]).flatten(), torch.from_numpy(expected), **NEWTON_STEP)
        logits = inputs[index] @ (whole + expected).reshape(3, 4).T
        assert_close(outputs[index] - outputs[index].mean(), torch.from_numpy(logits - logits.mean()), **NEWTON_STEP)
        hat = np.kron(np.eye(3), inputs[index])
        p = np.exp(logits * 0 + inputs[index] @ whole.reshape(3, 4).T)
        p /= p.sum()
        _, _, all_hessian = oracles.objective(whole, inputs, labels, 0.05)
        left = 40 * all_hessian - (0.05 if removal == "mean" else 0) * np.eye(12)
        leverage = np.trace((np.diag(p) - np.outer(p, p)) @ hat @ np.linalg.solve(left, hat.T))
        assert_close(leaving.leverage[index].item(), leverage, **NEWTON_STEP)


@pytest.mark.parametrize("removal", ["mean", "sum"])
def test_converge_equals_retraining(make_problem, blobs, removal):
    inputs, labels = blobs
    problem = make_problem(inputs, labels, 3, removal=removal)
    shifts = problem.model.weights(converged(optimum_of(problem), torch.arange(40)))
    whole = oracles.train(inputs, labels, 3, 0.05)
    for index in range(0, 40, 3):
        expected = oracles.leave_one_out_weights(inputs, labels, 3, 0.05, index, removal, whole) - whole
        assert_close(shifts[index].flatten(), torch.from_numpy(expected), **CONVERGED)


def chord_steps(inputs, labels, whole, index, n_steps):
    """The shift (P,) after one Newton step without a sample and `n_steps` more with the Hessian of the first."""
    keep = np.arange(len(labels)) != index
    _, _, hessian = oracles.objective(whole, inputs[keep], labels[keep], 0.05)
    shift = np.zeros_like(whole)
    for _ in range(1 + n_steps):
        _, gradient, _ = oracles.objective(whole + shift, inputs[keep], labels[keep], 0.05)
        shift = shift - np.linalg.solve(hessian, gradient)
    return shift


def test_refinement_contracts_to_the_optimum(make_problem, blobs):
    problem, rows = make_problem(*blobs, 3), torch.arange(40)
    optimum = optimum_of(problem)
    exact, whole = converged(optimum, rows), problem.model.weights(optimum.params).numpy().ravel()
    errors = []
    for n_steps in (0, 1, 3):
        shift, _ = chord.chord_steps(optimum.removal(rows), n_steps)
        for index in range(0, 40, 7):
            expected = chord_steps(*blobs, whole, index, n_steps)
            assert_close(problem.model.weights(shift[index]).flatten(), torch.from_numpy(expected), **NEWTON_STEP)
        errors.append(float(errors_of(shift, exact).max()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.2 * errors[1]
    shift, remaining = settle(optimum.removal(rows), 1e-5)
    assert float(errors_of(shift, exact).max()) < 2e-5
    assert float(remaining.max()) <= 1e-5


def test_what_remains_is_told(make_problem, blobs):
    """After one step and more the estimate is of the size of the true error."""
    optimum, rows = optimum_of(make_problem(*blobs, 3)), torch.arange(40)
    exact = converged(optimum, rows)
    for count in (1, 2, 3):
        shift, remaining = chord.chord_steps(optimum.removal(rows), count)
        ratio = errors_of(shift, exact) / remaining
        assert 0.1 < float(ratio.median()) < 2
        assert float(ratio.max()) < 10
    assert chord.chord_steps(optimum.removal(rows), 0)[1].isnan().all()


def test_samples_that_do_not_contract_are_fitted_anew(make_problem, blobs, monkeypatch):
    optimum = optimum_of(make_problem(*blobs, 3))
    expected = converged(optimum, torch.arange(5))
    monkeypatch.setattr(chord, "CHORD_STEPS", 1)
    assert_close(converged(optimum, torch.arange(5)), expected, **CONVERGED)


@pytest.mark.parametrize(("noise", "weight_decay", "seed"), [(0.15, 1e-8, 4), (0.0, 1e-8, 6), (0.15, 1e-10, 16)])
def test_steps_that_run_away_are_not_taken_for_converged(make_problem, noise, weight_decay, seed):
    """Nearly separable data: the first correction is larger than the shift it corrects, and the next is small beside it."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 5))
    labels = (features[:, 0] + noise * rng.normal(size=60) > 0).astype(int)
    problem = make_problem(np.c_[features, np.ones(60)], labels, 2, weight_decay)
    optimum, rows = optimum_of(problem), torch.arange(60)
    shift, remaining = settle(optimum.removal(rows), 1e-5)
    exact = torch.stack([fit_map(problem.remove(rows[row : row + 1]), optimum.params).params for row in rows]) - optimum.params
    assert float(remaining.max()) <= 1e-5
    assert float(errors_of(shift, exact).max()) < 1e-3


def test_what_remains_of_steps_at_rounding_is_rounding(make_problem, blobs):
    _, remaining = chord.chord_steps(optimum_of(make_problem(*blobs, 3)).removal(torch.arange(40)), 30)
    assert bool(remaining.isfinite().all())
    assert float(remaining.max()) < 1e-10


def test_neighbours_carry_the_second_order_term(make_problem, monkeypatch):
    """With all others as neighbours the correction is one chord step; with some of them it goes most of the way."""
    inputs, labels = oracles.make_data(400, 4, 3, seed=8)
    optimum, rows = optimum_of(make_problem(inputs, labels, 3)), torch.arange(0, 400, 9)
    exact, removal = converged(optimum, rows), optimum.removal(rows)
    closed = removal.newton_step()
    everyone = closed - neighbours_of(optimum).correction(removal, closed)
    assert_close(everyone, chord.chord_steps(removal, 1)[0], rtol=1e-5, atol=1e-8)
    monkeypatch.setattr(neighbours, "NEIGHBOURS", 80)
    corrected = closed - neighbours_of(optimum).correction(removal, closed)
    assert float(errors_of(corrected, exact).median()) < 0.6 * float(errors_of(closed, exact).median())


def test_neighbours_are_near_where_the_outputs_are(make_problem, monkeypatch):
    """In the metric of the Hessian: features of one large scale alone would choose others, and carry little."""
    inputs, labels = oracles.make_data(400, 4, 3, seed=8)
    optimum, rows = optimum_of(make_problem(inputs * [30, 1, 1, 1, 1], labels, 3)), torch.arange(0, 400, 9)
    exact, removal = converged(optimum, rows), optimum.removal(rows)
    closed = removal.newton_step()
    monkeypatch.setattr(neighbours, "NEIGHBOURS", 80)
    corrected = closed - neighbours_of(optimum).correction(removal, closed)
    assert float(errors_of(corrected, exact).median()) < 0.4 * float(errors_of(closed, exact).median())


@pytest.mark.parametrize(("condition", "dtype"), [(0.9, "float32"), (1.1, "float64")])
def test_products_are_in_float32_up_to_a_condition_number(condition, dtype):
    """Where rounding, amplified, stays below a hundredth; the constant is a plain number, and a large condition no warning."""
    largest = condition * 1e-2 / 2**-23
    hessian = torch.diag(torch.tensor([largest, 1.0], dtype=torch.float64))
    assert newton.inverse_of(hessian).dtype == getattr(torch, dtype)
    assert type(newton.FLOAT32_CONDITION) is float
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newton.inverse_of(torch.diag(torch.tensor([1e200, 1.0], dtype=torch.float64))).dtype == torch.float64
