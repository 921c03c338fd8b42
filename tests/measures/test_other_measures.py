"""Measures beside LSI, each against a slow and plain computation of its own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import norm
from torch import nn

from lapsi.errors import InputError
from lapsi.measures import forgetting, psmi, training_dynamics
from lapsi.measures.base import Labelled
from lapsi.measures.choose import MEASURES, chosen_measures
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.mlp import Mlp
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective

N, D, C, DECAY = 40, 4, 3, 0.02
CPU = torch.device("cpu")


def nobody(_):
    """Is told nothing."""


def data_of(*hidden, seed=0, labels=None):
    rng = np.random.default_rng(3)
    y = rng.integers(C, size=N) if labels is None else np.asarray(labels)
    features = rng.normal(size=(N, D)) + np.eye(C, D)[y % C]
    inputs = torch.from_numpy(np.concatenate([features, np.ones((N, 1))], 1))
    model = Mlp((D + 1, *hidden, C), ACTIVATIONS["relu"])
    problem = NetworkProblem(inputs, torch.from_numpy(y), model, softmax(C, CPU), Objective(DECAY, "map", "mean"))
    return Labelled(problem, seed)


def computed(name, data):
    measure = MEASURES[name]()
    steps = []
    found = measure.compute(data, steps.append)
    assert sum(steps) == measure.n_steps(data)
    assert list(found) == [column.name for column in measure.columns]
    assert all(values.shape == (N,) and np.isfinite(values).all() for values in found.values())
    return found


def test_psmi_is_the_mean_of_log_ratios_of_normal_densities(monkeypatch):
    data = data_of()
    monkeypatch.setattr(psmi, "BLOCK_ENTRIES", 7 * N * C)
    found = computed("psmi", data)
    x, y = data.inputs[:, :-1].numpy(), data.labels.numpy()
    drawn = torch.randn(500, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    ratios = np.empty((500, N))
    for place, direction in enumerate(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)):
        t = x @ direction
        densities = np.stack([norm.pdf(t, t[y == c].mean(), t[y == c].std()) for c in range(C)])
        shares = np.bincount(y) / N
        ratios[place] = np.log(densities[y, np.arange(N)] / (shares @ densities))
    assert_allclose(found["psmi"], ratios.mean(0), rtol=1e-10, atol=1e-12)
    assert_allclose(found["psmi_error"], ratios.std(0, ddof=1) / math.sqrt(500), rtol=1e-8)


def test_psmi_of_a_class_of_one_sample_and_one_of_none_is_a_number():
    labels = np.zeros(N, dtype=np.int64)
    labels[0] = 2
    found = computed("psmi", data_of(labels=labels))
    assert found["psmi"][0] == found["psmi"].max()


def test_sui_is_what_leaving_out_moves():
    data = data_of()
    x, y, ridge = data.inputs.numpy(), data.one_hot.numpy(), N * DECAY

    def fitted(rows):
        return np.linalg.solve(x[rows].T @ x[rows] + ridge * np.eye(D + 1), x[rows].T @ y[rows])

    whole = fitted(np.arange(N))
    moved = [fitted(np.delete(np.arange(N), row)) - whole for row in range(N)]
    found = computed("sui", data)
    assert_allclose(found["sui"], [np.square(each).sum() for each in moved], rtol=1e-10)
    assert_allclose(found["sui_outputs"], [np.square(x @ each).sum(1).mean() for each in moved], rtol=1e-10)


def test_trak_is_that_of_gradients_by_autograd_and_a_dense_kernel():
    data = data_of()
    x, y = data.inputs, data.labels

    def loss(flat):
        weights = torch.from_numpy(flat).view(C, D + 1).requires_grad_()
        value = nn.functional.cross_entropy(x @ weights.T, y) + DECAY / 2 * weights.square().sum()
        value.backward()
        return value.item(), weights.grad.flatten().numpy()

    optimum = minimize(loss, np.zeros(C * (D + 1)), jac=True, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-12})
    weights, gradients, miss = torch.from_numpy(optimum.x).view(C, D + 1), [], []
    for row in range(N):
        free = weights.clone().requires_grad_()
        p = torch.softmax(free @ x[row], 0)[y[row]]
        torch.log(p / (1 - p)).backward()
        gradients.append(free.grad.flatten().numpy())
        miss.append(1 - p.item())
    gradients = np.stack(gradients)
    kernel = gradients.T @ gradients + N * DECAY * np.eye(C * (D + 1))
    scores = gradients @ np.linalg.solve(kernel, gradients.T) * np.array(miss)[:, None]  # (sample, target)
    assert_allclose(computed("trak", data)["trak"], scores.mean(1), rtol=1e-7, atol=1e-10)


def plainly_trained(data, epochs, seed, recipe):
    """Probabilities (N, C) and norms of gradients (N,) after each epoch, by torch alone."""
    shapes, params = data.problem.model.shapes, data.problem.model.initial(seed)
    layers = [each.clone().requires_grad_() for each in data.problem.model.layers(params)]
    assert len(layers) == len(shapes)
    optimizer = torch.optim.Adam(layers, recipe.learning_rate, weight_decay=DECAY)

    def outputs(x):
        for place, weights in enumerate(layers):
            x = x @ weights.T if place == 0 else nn.functional.relu(x) @ weights[:, :-1].T + weights[:, -1]
        return x

    order = np.random.default_rng((seed, 1))
    for _ in range(epochs):
        for rows in torch.from_numpy(order.permutation(N)).split(recipe.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(outputs(data.inputs[rows]), data.labels[rows]).backward()
            optimizer.step()
        norms = []
        for row in range(N):
            own = torch.autograd.grad(nn.functional.cross_entropy(outputs(data.inputs[row]), data.labels[row]), layers)
            norms.append(math.sqrt(sum(float(each.square().sum()) for each in own)))
        yield torch.softmax(outputs(data.inputs), 1).detach().numpy(), np.array(norms)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_early_errors_and_gradients_are_those_of_plain_training(monkeypatch, hidden):
    monkeypatch.setattr(training_dynamics, "BATCH_SIZE", 16)
    data = data_of(*hidden, seed=4)
    recipe = training_dynamics.recipe_of(data, 10, 10)
    errors, norms = [], []
    for seed in range(4, 14):
        *_, (probabilities, gradients) = plainly_trained(data, 10, seed, recipe)
        errors.append(np.linalg.norm(probabilities - data.one_hot.numpy(), axis=1))
        norms.append(gradients)
    assert_allclose(computed("el2n", data)["el2n"], np.mean(errors, 0), rtol=1e-8)
    assert_allclose(computed("grand", data)["grand"], np.mean(norms, 0), rtol=1e-8)


def test_forgetting_counts_from_right_to_wrong_in_plain_training(monkeypatch):
    monkeypatch.setattr(training_dynamics, "BATCH_SIZE", 16)
    monkeypatch.setattr(training_dynamics, "LEARNING_RATE", 0.3)
    data = data_of()
    recipe, counts = training_dynamics.recipe_of(data, 50, 3), np.zeros(N)
    for seed in range(3):
        before, ever, own = np.zeros(N, dtype=bool), np.zeros(N, dtype=bool), np.zeros(N)
        for probabilities, _ in plainly_trained(data, 50, seed, recipe):
            right = probabilities.argmax(1) == data.labels.numpy()
            own += before & ~right
            before, ever = right, ever | right
        counts += np.where(ever, own, 50)
    assert counts.max() > 3
    assert_allclose(computed("forgetting", data)["forgetting"], counts / 3, rtol=1e-12)


def test_what_is_never_right_is_forgotten_every_time():
    right = torch.tensor([[[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]]], dtype=torch.bool)
    assert forgetting.forgotten(right).tolist() == [[2, 0, 4]]


def test_measures_are_known_by_name_and_taken_once():
    assert [measure.name for measure in chosen_measures(["psmi", "sui", "psmi"])] == ["psmi", "sui"]
    with pytest.raises(InputError, match="'psi'; expected some of 'el2n', 'grand'"):
        chosen_measures(["psmi", "psi"])


@pytest.mark.parametrize("name", ["psmi", "sui", "trak"])
def test_the_order_of_the_samples_does_not_matter(name):
    data, order = data_of(), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    turned = replace(data, problem=replace(data.problem, inputs=data.inputs[order], targets=data.labels[order]))
    for column, values in computed(name, data).items():
        assert_allclose(computed(name, turned)[column], values[order.numpy()], rtol=1e-6, atol=1e-10)
