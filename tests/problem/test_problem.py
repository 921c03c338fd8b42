from dataclasses import replace

import torch
from scipy.special import softmax
from torch.testing import assert_close

import oracles
from lapsi.problem.base import PADDING

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def to_contrasts(problem, matrix):
    lift = torch.kron(problem.likelihood.basis, torch.eye(problem.model.n_features, dtype=torch.float64))
    return lift.T @ torch.as_tensor(matrix) @ lift


def test_value_gradient_and_hessian_match_the_oracle(make_problem, blobs):
    inputs, labels = blobs
    problem = make_problem(inputs, labels, 3)
    params = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = problem.model.weights(params)
    value, gradient, _ = oracles.objective(weights.numpy().ravel(), inputs, labels, 0.05)
    own_value, own_gradient = problem.value_and_gradient(params)
    assert_close(own_value.item() / 40, value, **EXACT)
    assert_close(problem.model.weights(own_gradient).flatten() / 40, torch.from_numpy(gradient), **EXACT)
    dense = oracles.ggn(softmax(inputs @ weights.numpy().T, 1), inputs)
    assert_close(problem.hessian(params, 0.0), to_contrasts(problem, dense), **EXACT)


def test_padding_leaves_nothing_out(fitted):
    problem, fit, _ = fitted
    shift = 0.1 * torch.randn(1, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for given in (problem, replace(problem, weights=torch.linspace(0.5, 2, 40, dtype=torch.float64))):
        units, padded = torch.tensor([[3, 39]]), torch.tensor([[3, 39, PADDING, PADDING]])
        expected = given.gradient_without(units, fit.params, shift)
        assert_close(given.gradient_without(padded, fit.params, shift), expected, rtol=1e-12, atol=1e-12)


def test_without_a_shift_the_leaving_gradient_is_all(fitted):
    problem, fit, _ = fitted
    units, shift = torch.tensor([[0, 7], [31, 2]]), torch.zeros(2, 2, 4, dtype=torch.float64)
    whole = problem.gradient_without(units, fit.params, shift)
    assert_close(problem.leaving_gradient(units, fit.params, shift), whole, rtol=0, atol=0)


def test_gradient_without_is_a_difference_of_gradients(fitted):
    problem, fit, _ = fitted
    shift = 0.1 * torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([0, 7, 31])
    gradient = problem.gradient_without(indices[:, None], fit.params, shift)
    for row, index in enumerate(indices.tolist()):
        _, expected = problem.remove(torch.tensor([index])).value_and_gradient(fit.params + shift[row])
        assert_close(gradient[row], expected, rtol=1e-8, atol=1e-9)


def test_hessian_product_is_that_of_the_matrix_without_the_unit(fitted):
    problem, fit, _ = fitted
    vectors = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    units = torch.tensor([[0, 7], [31, 2], [5, PADDING]])
    weighted = replace(problem, weights=torch.linspace(0.5, 2, 40, dtype=torch.float64))
    for given in (problem, weighted, problem.remove(torch.tensor([3])), weighted.remove(torch.tensor([3, 17]))):
        products = given.hessian_product(units, fit.params, vectors)
        nobody = given.hessian_product(units[:, :0], fit.params, vectors)
        for unit, vector, product, whole in zip(units, vectors, products, nobody, strict=True):
            left = given.remove(unit[unit != PADDING])
            for one, found in ((left, product), (given, whole)):
                matrix = one.hessian(fit.params, one.objective.l2(one.total))
                assert_close(found.flatten(), matrix @ vector.flatten(), rtol=1e-10, atol=1e-10)
