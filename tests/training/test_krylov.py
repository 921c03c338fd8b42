import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.errors import ConvergenceError
from lapsi.training import krylov, newton
from lapsi.training.krylov import block_preconditioner, fit_without_hessian
from lapsi.training.newton import fit_map

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def problem(make_problem):
    return make_problem(*oracles.make_data(200, 5, 6, seed=2), 6, 1e-3).in_outputs()


def test_the_optimum_is_that_of_newton_in_contrasts(make_problem, problem):
    contrasts = make_problem(*oracles.make_data(200, 5, 6, seed=2), 6, 1e-3)
    expected = contrasts.model.weights(fit_map(contrasts).params)
    found = fit_without_hessian(problem)
    assert_close(found.params, expected, rtol=1e-8, atol=1e-9)
    assert found.grad_norm < 1e-12
    assert found.n_iterations > 0


def test_blocks_are_those_of_the_hessian(problem, monkeypatch):
    monkeypatch.setattr(krylov, "LEFT_OUT", 0.0)
    params = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hessian = problem.hessian(params, problem.objective.l2(problem.total)).view(6, 6, 6, 6)
    factors = block_preconditioner(problem, params).factors
    expected = torch.stack([hessian[c, :, c] for c in range(6)])
    assert_close((factors @ factors.mT).double(), expected, **FLOAT32)


def test_a_fit_that_does_not_get_there_says_so(problem, monkeypatch):
    monkeypatch.setattr(newton, "NEWTON_ITERATIONS", 1)
    with pytest.raises(ConvergenceError, match="did not converge: after 1 Newton steps the last .* larger weight decay"):
        fit_without_hessian(problem)
