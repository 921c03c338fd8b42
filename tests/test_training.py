import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.errors import ConvergenceError
from lapsi.training import newton
from lapsi.training.newton import fit_map, reduced_hessian

FIT = {"rtol": 1e-8, "atol": 1e-9}


@pytest.mark.parametrize("weight_decay", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fit_reaches_the_optimum(make_problem, weight_decay, n_classes):
    inputs, labels = oracles.make_data(30, 4, n_classes, seed=2)
    fit = fit_map(make_problem(inputs, labels, n_classes, weight_decay))
    expected = oracles.train(inputs, labels, n_classes, weight_decay)
    problem = make_problem(inputs, labels, n_classes, weight_decay)
    assert_close(problem.model.weights(fit.params).flatten(), torch.from_numpy(expected), **FIT)
    assert fit.grad_norm < 1e-9


def test_hessian_belongs_to_the_optimum(fitted):
    problem, fit, inverse = fitted
    assert_close(fit.hessian, problem.hessian(fit.params, 40 * 0.05), rtol=1e-5, atol=1e-6)
    assert_close(reduced_hessian(fit), problem.hessian(fit.params, 39 * 0.05), rtol=1e-5, atol=1e-6)
    assert_close(inverse @ reduced_hessian(fit), torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-10)


def test_too_few_steps_are_an_error(make_problem, blobs, monkeypatch):
    monkeypatch.setattr(newton, "NEWTON_ITERATIONS", 1)
    problem = make_problem(*blobs, 3, 1e-6)
    with pytest.raises(ConvergenceError, match="did not converge.*larger weight decay"):
        fit_map(problem, start=torch.ones(2, 4, dtype=torch.float64))


def test_a_hessian_that_is_not_definite_is_an_error():
    with pytest.raises(ConvergenceError, match="not positive definite.*standardize the features"):
        newton._factor(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


def test_hard_separable_data_still_converges(make_problem, blobs):
    inputs, labels = blobs
    separable = inputs.copy()
    separable[:, 0] = 100.0 * labels
    fit = fit_map(make_problem(separable, labels, 3, 1e-7))
    assert fit.grad_norm < 1e-10
    assert fit.params.isfinite().all()
