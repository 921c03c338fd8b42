from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.errors import ConvergenceError
from lapsi.linalg.conjugate_gradients import conjugate_gradients
from lapsi.problem.base import mean_weight
from lapsi.training import krylov, newton
from lapsi.training.krylov import (
    InversePreconditioner,
    block_preconditioner,
    fit_with_inverse,
    fit_without_hessian,
    truncated_newton,
)
from lapsi.training.newton import fit_map, invert, leaving_hessian

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
FIT = {"rtol": 1e-8, "atol": 1e-9}


@pytest.fixture
def problem(make_problem):
    return make_problem(*oracles.make_data(200, 5, 6, seed=2), 6, 1e-3).in_outputs()


def test_the_optimum_is_that_of_newton_in_contrasts(make_problem, problem):
    contrasts = make_problem(*oracles.make_data(200, 5, 6, seed=2), 6, 1e-3)
    expected = contrasts.model.weights(fit_map(contrasts).params)
    found = fit_without_hessian(problem)
    assert_close(found.params, expected, rtol=1e-8, atol=1e-9)
    assert found.grad_norm < 2e-11
    assert found.n_iterations > 0


def test_blocks_are_those_of_the_hessian(problem, monkeypatch):
    monkeypatch.setattr(krylov, "LEFT_OUT", 0.0)
    params = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hessian = problem.hessian(params, problem.objective.l2(problem.total)).view(6, 6, 6, 6)
    factors = block_preconditioner(problem, params).factors
    expected = torch.stack([hessian[c, :, c] for c in range(6)])
    assert_close((factors @ factors.mT).double(), expected, **FLOAT32)


def test_without_a_level_blocks_are_inverted_among_what_sums_to_0(problem):
    """By the bordered system [B, E; Eᵀ, 0], E the levels; a level alone is inverted as the Hessian inverts it."""
    generator = torch.Generator().manual_seed(0)
    made = block_preconditioner(problem, torch.randn(6, 6, dtype=torch.float64, generator=generator))
    blocks = torch.block_diag(*(made.factors @ made.factors.mT).double())
    levels, none = torch.eye(6, dtype=torch.float64).repeat(6, 1), torch.zeros(6, 6, dtype=torch.float64)
    bordered = torch.cat([torch.cat([blocks, levels], 1), torch.cat([levels.T, none], 1)])
    vector = torch.randn(1, 6, 6, dtype=torch.float64, generator=generator)
    level = vector.mean(1, keepdim=True)
    right = torch.cat([(vector - level).flatten(), torch.zeros(6, dtype=torch.float64)])
    expected = torch.linalg.solve(bordered, right)[:36].view(1, 6, 6) + level / problem.objective.l2(problem.total)
    assert_close(made(vector, torch.arange(1)), expected, **FLOAT32)


def test_blocks_without_a_level_take_fewer_products(make_problem):
    """A direction that the loss does not see is one that the blocks alone get wrong."""
    problem = make_problem(*oracles.make_data(2000, 5, 30, seed=2), 30, 1e-4).in_outputs()
    fit = fit_without_hessian(problem)
    right = problem.gradient_without(torch.arange(4)[:, None], fit.params, torch.zeros(4, *fit.params.shape).double())

    def products(blocks):
        nobody = torch.empty(4, 0, dtype=torch.int64)
        return conjugate_gradients(
            lambda vectors, rows: problem.hessian_product(nobody[rows], fit.params, vectors),
            right,
            blocks,
            tolerance=1e-3,
            max_iterations=200,
        ).n_iterations

    assert products(fit.blocks) < 0.8 * products(replace(fit.blocks, joint=None))


def test_a_fit_that_does_not_get_there_says_so(problem, monkeypatch):
    monkeypatch.setattr(newton, "NEWTON_ITERATIONS", 1)
    with pytest.raises(ConvergenceError, match="did not converge: after 1 Newton steps the last .* larger weight decay"):
        fit_without_hessian(problem)


def hard(kind, make_problem, removal):
    """60 samples, 3 classes, hardly any weight decay."""
    inputs, labels = oracles.make_data(60, 4, 3, seed=4, noise=0.6)
    if kind == "separable":
        inputs[:, 0] = 10 * labels
    if kind == "dominated":
        inputs[0, :-1] *= 100
    problem = make_problem(inputs, labels, 3, 1e-6, removal=removal)
    weights = torch.from_numpy(np.random.default_rng(0).choice([0.1, 1, 50], size=60))
    return replace(problem, weights=weights) if kind == "weighted" else problem


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["overlapping", "separable", "dominated", "weighted"])
def test_truncated_newton_reaches_the_optimum_from_anywhere(make_problem, kind, removal):
    """Preconditioned at the optimum of all samples; the full Newton step from far out overshoots."""
    problem = hard(kind, make_problem, removal)
    whole = fit_map(problem)
    precondition = InversePreconditioner(invert(whole.hessian))
    for row in (0, 1, 31):
        without = problem.remove(torch.tensor([row]))
        expected = fit_map(without).params
        for start in (whole.params, torch.zeros_like(expected), 3 * whole.params):
            assert_close(truncated_newton(without, start, precondition).point.params, expected, **FIT)


def test_truncated_newton_that_is_led_nowhere_says_so(problem):
    with pytest.raises(ConvergenceError, match="did not converge: after 1 Newton steps .* larger weight decay"):
        truncated_newton(problem, torch.zeros(6, 6, dtype=torch.float64), lambda vectors, _: torch.nan * vectors)


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["overlapping", "separable", "dominated", "weighted"])
def test_the_inverse_of_a_fit_belongs_to_its_optimum(make_problem, kind, removal):
    problem = hard(kind, make_problem, removal)
    expected, found = fit_map(problem).params, fit_with_inverse(problem, "float64")
    assert_close(found.params, expected, **FIT)
    left = problem.objective.l2_without(problem.total, mean_weight(problem))
    identity = found.inverse @ problem.hessian(expected, left)
    assert_close(identity, torch.eye(len(identity), dtype=torch.float64), rtol=0, atol=1e-4)
    assert found.n_iterations > 0


def test_an_inverse_far_from_the_optimum_is_made_anew(make_problem, monkeypatch):
    problem = make_problem(*oracles.make_data(60, 4, 3, seed=4), 3, 1e-3)
    made = []
    monkeypatch.setattr(krylov, "leaving_hessian", lambda *given: made.append(given[1]) or leaving_hessian(*given))
    monkeypatch.setattr(newton, "LBFGS_ITERATIONS", 3)
    found = fit_with_inverse(problem, "float32")
    assert len(made) == 2
    assert found.inverse.dtype == torch.float32
    assert_close(found.inverse.double(), invert(leaving_hessian(problem, fit_map(problem).params)), rtol=1e-4, atol=1e-7)
