import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.engines.newton import steps as newton
from lapsi.engines.newton.steps import NewtonEngine
from lapsi.training.newton import fit_map, invert, reduced_hessian

NEWTON_STEP = {"rtol": 1e-6, "atol": 1e-10}  # the fit itself is exact to about 1e-10
CONVERGED = {"rtol": 1e-7, "atol": 1e-10}


def engine_of(problem, refine=0):
    fit = fit_map(problem)
    return NewtonEngine(problem, fit.params, invert(reduced_hessian(problem, fit)), refine), fit


@pytest.mark.parametrize("removal", ["mean", "sum"])
def test_closed_form_is_the_newton_step_of_the_reduced_objective(make_problem, blobs, removal):
    inputs, labels = blobs
    problem = make_problem(inputs, labels, 3, removal=removal)
    engine, fit = engine_of(problem)
    whole = problem.probe.weights(fit.params).numpy().ravel()
    (chunk,) = engine(torch.arange(40))
    for index in (0, 5, 39):
        keep = np.arange(40) != index
        decay = 0.05 if removal == "mean" else 0.05 * 40 / 39
        _, gradient, hessian = oracles.objective(whole, inputs[keep], labels[keep], decay)
        expected = -np.linalg.solve(hessian, gradient)
        assert_close(problem.probe.weights(chunk.shift[index]).flatten(), torch.from_numpy(expected), **NEWTON_STEP)
        logits = inputs[index] @ (whole + expected).reshape(3, 4).T
        assert_close(chunk.logits[index] - chunk.logits[index].mean(), torch.from_numpy(logits - logits.mean()), **NEWTON_STEP)
        hat = np.kron(np.eye(3), inputs[index])
        p = np.exp(logits * 0 + inputs[index] @ whole.reshape(3, 4).T)
        p /= p.sum()
        _, _, all_hessian = oracles.objective(whole, inputs, labels, 0.05)
        left = 40 * all_hessian - (0.05 if removal == "mean" else 0) * np.eye(12)
        leverage = np.trace((np.diag(p) - np.outer(p, p)) @ hat @ np.linalg.solve(left, hat.T))
        assert_close(chunk.leverage[index].item(), leverage, **NEWTON_STEP)


@pytest.mark.parametrize("removal", ["mean", "sum"])
def test_converge_equals_retraining(make_problem, blobs, removal):
    inputs, labels = blobs
    problem = make_problem(inputs, labels, 3, removal=removal)
    engine, _ = engine_of(problem)
    shifts = problem.probe.weights(engine.converge(torch.arange(40)))
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
    problem = make_problem(*blobs, 3)
    exact = engine_of(problem)[0].converge(torch.arange(40))
    errors = []
    for steps in (0, 1, 3):
        engine, fit = engine_of(problem, refine=steps)
        shift = torch.cat([chunk.shift for chunk in engine(torch.arange(40))])
        whole = problem.probe.weights(fit.params).numpy().ravel()
        for index in range(0, 40, 7):
            expected = chord_steps(*blobs, whole, index, steps)
            assert_close(problem.probe.weights(shift[index]).flatten(), torch.from_numpy(expected), **NEWTON_STEP)
        errors.append(float(((shift - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.2 * errors[1]
    refined = torch.cat([chunk.shift for chunk in engine.refined(torch.arange(40))])
    assert float(((refined - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max()) < 1e-4


def test_samples_that_do_not_contract_are_fitted_anew(make_problem, blobs, monkeypatch):
    problem = make_problem(*blobs, 3)
    engine, _ = engine_of(problem)
    expected = engine.converge(torch.arange(5))
    monkeypatch.setattr(newton, "CHORD_STEPS", 1)
    assert_close(engine.converge(torch.arange(5)), expected, **CONVERGED)


def test_chunks_do_not_change_the_result(make_problem, monkeypatch):
    inputs, labels = oracles.make_data(70, 3, 3, seed=4)
    engine, _ = engine_of(make_problem(inputs, labels, 3))
    (whole,) = engine(torch.arange(70))
    monkeypatch.setattr(newton, "CHUNK_BYTES", 1)
    parts = list(engine(torch.arange(70)))
    assert len(parts) > 3
    assert_close(torch.cat([part.shift for part in parts]), whole.shift, rtol=1e-12, atol=1e-14)


def test_neighbours_carry_the_second_order_term(make_problem, monkeypatch):
    """With all others as neighbours the correction is one chord step; with some of them it goes most of the way."""
    inputs, labels = oracles.make_data(400, 4, 3, seed=8)
    problem = make_problem(inputs, labels, 3)
    engine, _ = engine_of(problem)
    indices = torch.arange(0, 400, 9)
    exact = engine.converge(indices)

    def error(chunks):
        shift = torch.cat([chunk.shift for chunk in chunks])
        return (shift - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)

    one_step = torch.cat([chunk.shift for chunk in NewtonEngine(problem, engine.map_params, engine.inverse, 1)(indices)])
    everyone = torch.cat([chunk.shift for chunk in engine.corrected(indices)])
    assert_close(everyone, one_step, rtol=1e-5, atol=1e-8)
    closed = error(engine(indices))
    monkeypatch.setattr(newton, "NEIGHBOURS", 80)
    assert float(error(engine.corrected(indices)).median()) < 0.6 * float(closed.median())
