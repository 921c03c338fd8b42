import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.errors import ConvergenceError, InputError
from lapsi.training import newton
from lapsi.training.krylov import fit_with_inverse
from lapsi.training.newton import fit_map, float32_inverse, hessian_dtype, reduced_hessian

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


def test_the_optimum_is_exact_whatever_the_hessian_is_made_in(make_problem):
    inputs, labels = oracles.make_data(300, 5, 4, seed=2)
    problem = make_problem(inputs, labels, 4, 0.01)
    exact, found = fit_with_inverse(problem, "float64"), fit_with_inverse(problem, None, torch.float32)
    assert_close(found.params, exact.params, rtol=0, atol=1e-10 * float(exact.params.norm()))
    assert found.inverse.dtype == torch.float32
    assert_close(found.inverse.double(), exact.inverse, rtol=1e-4, atol=1e-5 * float(exact.inverse.diagonal().max()))
    assert float((found.inverse - exact.inverse.float()).abs().max()) > 1e-12


def test_a_hessian_that_float32_does_not_suit_is_made_in_float64(make_problem, monkeypatch):
    problem = make_problem(*oracles.make_data(300, 5, 4, seed=2), 4, 0.01)
    assert fit_with_inverse(problem, None, torch.float32).inverse.dtype == torch.float32
    monkeypatch.setattr(newton, "FLOAT32_CONDITION", 1.0)
    assert fit_with_inverse(problem, None, torch.float32).inverse.dtype == torch.float64
    assert float32_inverse(-torch.eye(3), 1.0) is None


def test_hessians_are_summed_in_float32_where_they_are_large_and_well_conditioned(make_problem, blobs, monkeypatch):
    problem = make_problem(*blobs, 3)
    assert hessian_dtype(problem, exact=False) == torch.float64
    monkeypatch.setattr(newton, "FLOAT32_FLOP", 0.0)
    assert hessian_dtype(problem, exact=False) == torch.float32
    assert hessian_dtype(problem, exact=True) == torch.float64
    assert hessian_dtype(make_problem(*blobs, 3, 1e-3), exact=False) == torch.float64
    assert hessian_dtype(make_problem(100 * blobs[0], blobs[1], 3), exact=False) == torch.float64


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


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "weight_decay", "seed"), [(0.3, 1e-7, 5), (0.3, 1e-8, 1), (0.3, 1e-8, 4), (0.6, 1e-7, 5)])
def test_refits_of_nearly_separable_data_end_where_rounding_begins(make_problem, noise, weight_decay, seed):
    """Their loss is so small that neither its value nor its gradient shows the last steps."""
    inputs, labels = oracles.make_data(60, 4, 3, seed=seed, noise=noise)
    problem = make_problem(inputs, labels, 3, weight_decay)
    whole = fit_map(problem)
    for row in range(60):
        without = problem.remove(torch.tensor([row]))
        fit = fit_map(without, whole.params)
        _, gradient = without.value_and_gradient(fit.params)
        step = torch.linalg.solve(fit.hessian, gradient.flatten())
        assert float(step.norm()) < 1e-7 * float(fit.params.norm())


def test_a_step_that_overshoots_is_shortened(make_problem):
    """Far out the loss is nearly flat, and the full Newton step goes much too far back."""
    inputs, labels = oracles.make_data(40, 3, 2, seed=1)
    problem = make_problem(inputs, labels, 2, 1e-3)
    start = 6 * torch.ones(1, 4, dtype=torch.float64)
    value, gradient = problem.value_and_gradient(start)
    step = -torch.linalg.solve(problem.hessian(start, 40 * 1e-3), gradient.flatten()).view_as(start)
    assert float(problem.value_and_gradient(start + step)[0]) > 1.5 * float(value)
    point = newton._line_search(problem, newton.Point(start, value, gradient), step)
    assert float(point.value) < float(value)
    assert_close(fit_map(problem, start).params, fit_map(problem).params, **FIT)


def test_a_search_on_values_that_are_no_numbers_ends(make_problem, blobs):
    problem = make_problem(*blobs, 3)
    start = torch.zeros(2, 4, dtype=torch.float64)
    point = newton.Point(start, *problem.value_and_gradient(start))
    assert newton._line_search(problem, point, torch.full_like(start, torch.nan)) is None
    with pytest.raises(ConvergenceError, match="larger weight decay"):
        fit_map(problem, torch.full_like(start, torch.nan))


def test_features_whose_squares_overflow_are_refused(make_problem, blobs):
    inputs, labels = blobs
    with pytest.raises(InputError, match="too large to be squared in float64; divide them by a constant"):
        fit_map(make_problem(1e160 * inputs, labels, 3))


def test_the_inverse_takes_the_place_of_the_factor():
    """So that a large matrix is held twice, not three times."""
    matrix = torch.tensor([[2.0, 0.5, 0.1], [0.5, 3.0, 0.2], [0.1, 0.2, 1.0]], dtype=torch.float64)
    before = matrix.clone()
    assert_close(newton.invert(matrix) @ before, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-14)
    assert_close(matrix, before, rtol=0, atol=0)
