"""Another likelihood, written here in a few lines, goes through problem, engine and curvature without touching the package."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lapsi.engines.base import Plan
from lapsi.engines.evaluate import evaluate, verify
from lapsi.engines.groups.engine import groups_fit
from lapsi.engines.newton.engine import newton_fit
from lapsi.engines.retrain.engine import RetrainEngine
from lapsi.execution.checkpoint import open_checkpoint
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.mlp import Mlp
from lapsi.problem.linear import LinearProblem
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.results.verification import draw_rows
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map

N, D, K, DECAY = 40, 4, 2, 0.05
EXACT = {"rtol": 4e-5, "atol": 1e-11}  # converged to 1e-5 of the shift, of which lsi is the square


class Poisson(Likelihood):
    """Counts (N, K) whose rates are exp(z)."""

    n_outputs = K
    basis = torch.eye(K, dtype=torch.float64)

    @property
    def sees_level(self):
        return True

    def in_outputs(self):
        return self

    def relative(self, weights):
        return weights

    def complete(self, change, axis):
        return change

    def state(self, outputs, axis=-1):
        return outputs.exp()

    def loss(self, outputs, targets):
        return (outputs.exp() - targets * outputs).sum(-1)

    def residual(self, mean, targets):
        return mean - targets

    def residual_share(self, mean, targets):
        return 1 / ((mean - targets).square() / mean).sum(-1)

    def variance(self, mean):
        return mean

    def hessian(self, mean):
        return torch.diag_embed(mean)

    def hessian_sum(self, mean, weights):
        return torch.diag(mean.sum(0))

    def hessian_root(self, mean):
        return torch.diag_embed(mean.sqrt())

    def remaining_root_times(self, mean, among, vector):
        return mean.sqrt() * ~among * vector

    def residual_change(self, mean, output_change, axis=-1, out=None, outputs=None):
        return torch.mul(mean, torch.expm1(output_change), out=out)

    def variance_change(self, mean, change):
        return change

    def hessian_change(self, mean, change):
        return torch.diag_embed(change)

    def hessian_change_sum(self, mean, change, weights):
        return torch.diag_embed(change.sum(0).T)

    def residual_derivative(self, mean, direction, axis=-1):
        return mean * direction

    def coupling(self, mean, outputs, place):
        return mean * (outputs == outputs[:, place : place + 1])

    def variance_derivative(self, mean, derivative):
        return derivative

    def hessian_derivative(self, mean, derivative):
        return torch.diag_embed(derivative)

    def hessian_derivative_sum(self, mean, derivative, weights):
        return torch.diag_embed(derivative.sum(0).T)

    def combine(self, outputs):
        return outputs.exp().mean(0).log()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    inputs = np.c_[0.5 * rng.normal(size=(N, D - 1)), np.ones(N)]
    rates = np.exp(inputs @ rng.normal(size=(D, K)))
    return inputs, rng.poisson(rates).astype(float)


def linear_problem(data):
    inputs, counts = map(torch.from_numpy, data)
    return LinearProblem(inputs, counts, Poisson(), Objective(DECAY, "map", "mean"))


def optimum(inputs, counts):
    """Weights (K, D) by Newton's method, output by output."""
    weights = np.zeros((K, inputs.shape[1]))
    for k in range(K):
        for _ in range(50):
            rate = np.exp(inputs @ weights[k])
            gradient = inputs.T @ (rate - counts[:, k]) / len(inputs) + DECAY * weights[k]
            hessian = (inputs.T * rate) @ inputs / len(inputs) + DECAY * np.eye(inputs.shape[1])
            weights[k] -= np.linalg.solve(hessian, gradient)
    return weights


def precision(structure, weights, inputs, prior):
    """Λ (K·D, K·D), formed from its definition."""
    rates = np.exp(inputs @ weights.T)
    if structure == "kfac":
        dense = np.kron(np.diag(rates.mean(0)), inputs.T @ inputs)
    else:
        dense = sum(np.kron(np.diag(rate), np.outer(x, x)) for rate, x in zip(rates, inputs, strict=True))
    dense = np.diag(np.diag(dense)) if structure == "diag" else dense
    return dense + prior * np.eye(len(dense))


def lsi(structure, data, rows):
    """(mean, curvature) of the samples `rows` that leave together, everything trained anew."""
    inputs, counts = data
    keep = np.setdiff1d(np.arange(N), rows)
    whole, without = optimum(*data), optimum(inputs[keep], counts[keep])
    before = precision(structure, whole, inputs, N * DECAY)
    after = precision(structure, without, inputs[keep], len(keep) * DECAY)
    shift, ratio = (without - whole).ravel(), np.linalg.solve(before, after)
    curvature = np.trace(ratio) - len(ratio) - np.linalg.slogdet(ratio)[1]
    return 0.5 * shift @ after @ shift, 0.5 * curvature


def evaluated(fit, units):
    return evaluate(fit, units, observation(fit), open_checkpoint(None, {}, {}), lambda _: None)


@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_newton(data, structure):
    details = {"n_refined": N, "converges": True, "budget": 0.0, "settles": True, "streams": False}
    plan = Plan(Cost(0, 1, {}), details)
    fit = newton_fit(linear_problem(data), make_settings("newton", curvature=structure), plan, Stages(show=False))
    units = torch.arange(0, N, 7)[:, None]
    (found,) = evaluated(fit, units)
    expected = np.array([lsi(structure, data, [row]) for row in units[:, 0].tolist()])
    assert_allclose(np.stack([found["lsi_mean"][0], found["lsi_curvature"][0]], 1), expected, **EXACT)
    without = optimum(data[0][1:], data[1][1:])
    assert_allclose(found["outputs"][0], without @ data[0][0], rtol=1e-5)
    checked = verify(
        fit, units, expected.sum(1), draw_rows(expected.sum(1), np.full(len(units), np.nan), len(units), seed=0), lambda _: None
    )
    assert 0 < checked.max_relative_error < 1e-6


@pytest.mark.parametrize("structure", ["diag", "kfac"])
def test_newton_to_first_order(data, structure):
    details = {"n_refined": 0, "converges": False, "budget": 0.0, "settles": False, "streams": False}
    fit = newton_fit(
        linear_problem(data), make_settings(curvature=structure, refine=0), Plan(Cost(0, 1, {}), details), Stages(show=False)
    )
    (found,) = evaluated(fit, torch.arange(N)[:, None])
    expected = np.array([sum(lsi(structure, data, [row])) for row in range(N)])
    error = np.abs(found["lsi_mean"][0] + found["lsi_curvature"][0] - expected) / expected
    assert np.median(error) < 0.05
    assert error.max() < 0.3


@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_groups(data, structure):
    fit = groups_fit(fit_map(linear_problem(data)), Settings(curvature=structure))
    groups = [torch.tensor([0, 5, 6]), torch.tensor([7])]
    (found,) = evaluated(fit, groups)
    expected = [lsi(structure, data, rows) for rows in ([0, 5, 6], [7])]
    assert_allclose(np.stack([found["lsi_mean"][0], found["lsi_curvature"][0]], 1), expected, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_retraining(data, structure):
    inputs, counts = map(torch.from_numpy, data)
    model = Mlp((D, K), ACTIVATIONS["relu"])
    problem = NetworkProblem(inputs, counts, model, Poisson(), Objective(DECAY, "map", "mean"))
    recipe = Recipe(learning_rate=0.4, epochs=600, seeds=1)
    settings = make_settings(recipe=recipe, curvature=structure, dtype="float64")
    fit = RetrainEngine(settings).fit_problem(problem, 8)
    units = torch.tensor([[3], [20]])
    (found,) = evaluated(fit, units)
    expected = np.array([lsi(structure, data, [row]) for row in (3, 20)])
    assert_allclose(np.stack([found["lsi_mean"][0], found["lsi_curvature"][0]], 1), expected, rtol=1e-6, atol=1e-12)
