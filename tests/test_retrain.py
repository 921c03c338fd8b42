from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import oracles
import torch_training
from lapsi.curvature.network import laplace_posterior
from lapsi.loo.retrain import RetrainEngine
from lapsi.network import NetworkProblem
from lapsi.objective import Objective
from lapsi.probes.activation import ACTIVATIONS
from lapsi.probes.mlp import mlp_probe
from lapsi.recipe import Recipe
from lapsi.training.descent import BATCHES, _generator
from lapsi.training.sampling import batches

N, D, C = 37, 4, 3
DIFFERENCE = {"rtol": 1e-6, "atol": 1e-11}  # relative to the change itself, which is about 1e-2 of the parameters
LSI = {"rtol": 1e-8, "atol": 1e-11}
SINGLE = {"rtol": 2e-4, "atol": 1e-8}


def make_problem(hidden=(), activation="relu", weight_decay=0.01, removal="mean"):
    inputs, labels = oracles.make_data(N, D, C, seed=3)
    probe = mlp_probe(D + 1, hidden, C, ACTIVATIONS[activation])
    return NetworkProblem(torch.from_numpy(inputs), torch.from_numpy(labels), probe, Objective(weight_decay, "map", removal))


def retrain(problem, recipe, indices, seed=0, dtype=torch.float64):
    engine = RetrainEngine(problem, problem.inputs.to(dtype), recipe)
    (last,) = engine(torch.tensor(indices), seed, {recipe.epochs}, lambda _: None)
    return last


def batches_of(recipe, seed):
    """The rows and divisor of every step, as the engine draws them."""
    generator = _generator(seed, BATCHES)
    epochs = []
    for _ in range(recipe.epochs):
        steps = []
        for batch in batches(recipe, N, generator, torch.device("cpu")):
            rows = range(N)[batch.rows] if isinstance(batch.rows, slice) else batch.rows.tolist()
            steps.append((list(rows), None if batch.shrinks else batch.normalizer))
        epochs.append(steps)
    return epochs.__getitem__


RECIPES = {
    "paper": Recipe(epochs=60),
    "plain gradient descent": Recipe(momentum=0.0, nesterov=False, epochs=40),
    "heavy ball": Recipe(nesterov=False, epochs=40),
    "adam": Recipe(optimizer="adam", learning_rate=0.01, epochs=40),
    "adamw": Recipe(optimizer="adamw", learning_rate=0.01, epochs=40),
    "sam": Recipe(sam_radius=0.05, epochs=30),
    "step": Recipe(schedule="step", step_epochs=7, step_factor=0.5, epochs=30),
    "cosine": Recipe(schedule="cosine", epochs=30),
    "sequential": Recipe(batching="sequential", batch_size=5, epochs=8),
    "singles": Recipe(batching="sequential", batch_size=1, learning_rate=0.01, epochs=3),
    "shuffled adam": Recipe(batching="shuffled", batch_size=8, optimizer="adam", learning_rate=0.01, epochs=6),
    "poisson": Recipe(batching="poisson", batch_size=8, epochs=6),
}


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)], ids=["linear", "mlp", "deep"])
@pytest.mark.parametrize("name", RECIPES)
def test_equals_torch_training_each_model_alone(name, hidden):
    recipe, problem = RECIPES[name], make_problem(hidden, "tanh" if len(hidden) > 1 else "relu")
    indices = [0, 5, 36]
    result = retrain(problem, recipe, indices, seed=2)
    steps = batches_of(recipe, 2)
    arguments = (problem.inputs[:, :-1], problem.labels, hidden, C, problem.probe.activation.name, recipe, 0.01, 2, steps)
    whole = torch_training.train(*arguments)
    assert_close(result.params, whole, rtol=1e-9, atol=1e-12)
    for row, index in enumerate(indices):
        assert_close(result.shift[row], torch_training.train(*arguments, without=index) - whole, **DIFFERENCE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_float32_changes_keep_their_digits(activation, optimizer):
    problem = make_problem((6,), activation)
    recipe = Recipe(optimizer=optimizer, learning_rate=0.02, epochs=50)
    indices = list(range(0, N, 4))
    exact = retrain(problem, recipe, indices).shift
    single = retrain(problem, recipe, indices, dtype=torch.float32).shift
    assert single.dtype == torch.float32
    errors = (single.double() - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(errors.max()) < SINGLE["rtol"]


def forward_of(problem, inputs):
    return lambda params: problem.probe.logits(params, inputs)


def layer_inputs(problem, params, inputs):
    return problem.probe.trace(params, inputs, problem.labels[: len(inputs)]).hidden


@pytest.mark.parametrize("prior_precision", ["map", 1.0])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize(
    ("hidden", "activation"), [((), "relu"), ((4,), "gelu"), ((4, 3), "tanh")], ids=["linear", "mlp", "deep"]
)
def test_lsi_equals_the_definition_with_autograd_and_dense_matrices(hidden, activation, structure, prior_precision):
    problem = make_problem(hidden, activation, weight_decay=0.05)
    problem = replace(problem, objective=Objective(0.05, prior_precision, "mean"))
    indices = [0, 17, 36]
    result = retrain(problem, Recipe(epochs=30), indices, seed=1)
    sizes = [out * width for out, width in problem.probe.shapes]

    def dense(params, rows, prior):
        inputs = problem.inputs[rows]
        return oracles.network_precision(
            structure, forward_of(problem, inputs), params, prior, layer_inputs(problem, params, inputs), sizes
        )

    before = dense(result.params, list(range(N)), N * 0.05 if prior_precision == "map" else 1.0)
    posterior = laplace_posterior(problem, result.params, structure)
    for row, index in enumerate(indices):
        moved = result.params + result.shift[row]
        kept = [j for j in range(N) if j != index]
        after = dense(moved, kept, (N - 1) * 0.05 if prior_precision == "map" else 1.0)
        mean, curvature = oracles.kl(result.shift[row].numpy(), before, after)
        terms = posterior.kl_to(result.shift[row], laplace_posterior(problem, moved, structure, index))
        assert_close(terms.mean.item(), mean, **LSI)
        assert_close(terms.curvature.item(), curvature, **LSI)
