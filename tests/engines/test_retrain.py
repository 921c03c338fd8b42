from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch.testing import assert_close

import oracles
import torch_training
from lapsi.curvature.ggn import laplace_posterior
from lapsi.engines.retrain.steps import probe_trainer
from lapsi.engines.retrain.trainer import Sense
from lapsi.errors import ConvergenceError
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.mlp import Mlp
from lapsi.models.passes import clip_of
from lapsi.precision.divergence import KL
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.settings.recipe import Recipe
from lapsi.training.descent import BATCHES, NOISE, random_numbers
from lapsi.training.pair import Pair
from lapsi.training.sampling import batches, steps_per_epoch

N, D, C = 37, 4, 3
DIFFERENCE = {"rtol": 1e-6, "atol": 1e-11}  # relative to the change itself, which is about 1e-2 of the parameters
LSI = {"rtol": 1e-8, "atol": 1e-11}
SINGLE = {"rtol": 2e-4, "atol": 1e-8}


def make_problem(hidden=(), activation="relu", weight_decay=0.01, removal="mean"):
    inputs, labels = oracles.make_data(N, D, C, seed=3)
    model, likelihood = Mlp((D + 1, *hidden, C), ACTIVATIONS[activation]), softmax(C, torch.device("cpu"))
    data = torch.from_numpy(inputs), torch.from_numpy(labels)
    return NetworkProblem(*data, model, likelihood, Objective(weight_decay, "map", removal))


def retrain(problem, recipe, indices, seed=0, dtype=torch.float64):
    trainer = probe_trainer(problem, dtype, recipe)
    (last,) = trainer(torch.tensor(indices), seed, {recipe.epochs}, lambda _: None)
    return last


def batches_of(recipe, seed):
    """The rows and divisor of every step, as the trainer draws them."""
    random = random_numbers(seed, BATCHES)
    epochs = []
    for _ in range(recipe.epochs):
        steps = []
        for batch in batches(recipe, N, random, torch.device("cpu")):
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
SLOW = pytest.mark.slow
NETS = [pytest.param((), id="linear"), pytest.param((6,), id="mlp", marks=SLOW), pytest.param((6, 5), id="deep", marks=SLOW)]


@pytest.mark.parametrize("hidden", NETS)
@pytest.mark.parametrize("name", RECIPES)
def test_equals_torch_training_each_model_alone(name, hidden):
    recipe, problem = RECIPES[name], make_problem(hidden, "tanh" if len(hidden) > 1 else "relu")
    indices = [0, 5, 36]
    result = retrain(problem, recipe, indices, seed=2)
    steps = batches_of(recipe, 2)
    arguments = (problem.inputs[:, :-1], problem.targets, hidden, C, problem.model.activation.name, recipe, 0.01, 2, steps)
    whole = torch_training.train(*arguments)
    assert_close(result.params, whole, rtol=1e-9, atol=1e-12)
    for row, index in enumerate(indices):
        assert_close(result.shift[row], torch_training.train(*arguments, without=index) - whole, **DIFFERENCE)


@pytest.mark.slow
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
    return lambda params: problem.model.outputs(params, inputs)


def layer_inputs(problem, params, inputs):
    return problem.model.forward_backward(params, inputs, problem.targets[: len(inputs)], problem.likelihood).hidden


@pytest.mark.parametrize("prior_precision", ["map", 1.0])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize(
    ("hidden", "activation"),
    [
        pytest.param((), "relu", id="linear"),
        pytest.param((4,), "gelu", id="mlp"),
        pytest.param((4, 3), "tanh", id="deep", marks=SLOW),
    ],
)
def test_lsi_equals_the_definition_with_autograd_and_dense_matrices(hidden, activation, structure, prior_precision):
    problem = make_problem(hidden, activation, weight_decay=0.05)
    problem = replace(problem, objective=Objective(0.05, prior_precision, "mean"))
    indices = [0, 17, 36]
    result = retrain(problem, Recipe(epochs=30), indices, seed=1)
    sizes = [out * width for out, width in problem.model.shapes]

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
        after = laplace_posterior(problem.remove(torch.tensor([index])), moved, structure)
        terms = posterior.divergence_from(result.shift[row], after, KL())
        assert_close(terms.mean.item(), mean, **LSI)
        assert_close(terms.curvature.item(), curvature, **LSI)


def opacus_train(problem, recipe, seed, without, noises):
    """Params (P,) of one model trained by opacus in float64, its noise replaced by ours."""
    from opacus.grad_sample import GradSampleModule  # takes seconds, and one test needs it
    from opacus.optimizers import DPOptimizer

    model = torch_training.make_model(D, problem.model.sizes[1:-1], C, problem.model.activation.name, seed)
    optimizer = torch_training.make_optimizer(model, recipe, 0.01)
    wrapped = GradSampleModule(model)
    size = recipe.batch_size or N
    private = DPOptimizer(
        optimizer, noise_multiplier=recipe.noise_multiplier, max_grad_norm=recipe.clip_norm, expected_batch_size=size
    )
    noise = iter(noises)
    for epoch in range(recipe.epochs):
        for rows, _ in batches_of(recipe, seed)(epoch):
            kept = [row for row in rows if row != without]
            private.zero_grad()
            torch.nn.functional.cross_entropy(wrapped(problem.inputs[kept, :-1]), problem.targets[kept]).backward()
            parts = iter(as_torch_gradients(problem, next(noise)))
            with mock.patch("opacus.optimizers.optimizer._generate_noise", lambda std, parts=parts, **_: std * next(parts)):
                private.step()
    return torch_training.flat(model)


def as_torch_gradients(problem, vector):
    """(P,) as the weight and bias of each layer."""
    return [part for layer in problem.model.layers(vector) for part in (layer[:, :-1], layer[:, -1])]


PRIVATE = {
    "clipped": Recipe(clip_norm=0.5, epochs=15),
    "hardly clipped": Recipe(clip_norm=2.5, epochs=15),
    "noise": Recipe(clip_norm=0.5, noise_multiplier=0.8, epochs=15),
    "batches": Recipe(clip_norm=0.5, noise_multiplier=0.8, batching="sequential", batch_size=10, epochs=4),
    "poisson": Recipe(clip_norm=0.5, noise_multiplier=0.8, batching="poisson", batch_size=10, epochs=4, optimizer="adam"),
}


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(), (6,)], ids=["linear", "mlp"])
@pytest.mark.parametrize("name", PRIVATE)
def test_private_training_equals_opacus_each_model_alone(name, hidden):
    recipe, problem, seed = PRIVATE[name], make_problem(hidden, "tanh"), 4
    random = random_numbers(seed, NOISE)
    n_steps = recipe.epochs * steps_per_epoch(recipe, N)
    noises = [torch.from_numpy(random.standard_normal(problem.model.n_params)) for _ in range(n_steps)]
    indices = [0, 7, 36]
    result = retrain(problem, recipe, indices, seed)
    whole = opacus_train(problem, recipe, seed, None, noises)
    assert_close(result.params, whole, rtol=1e-9, atol=1e-12)
    for row, index in enumerate(indices):
        assert_close(result.shift[row], opacus_train(problem, recipe, seed, index, noises) - whole, **DIFFERENCE)


def test_per_sample_gradients_and_their_clipping_equal_autograd():
    problem = make_problem((6, 5), "gelu")
    params = problem.model.initial(0)
    passes = problem.forward_backward(params, slice(0, N))
    gradients = torch.stack([problem.gradient(problem.forward_backward(params, slice(j, j + 1)), None) for j in range(N)])
    leaf = params.clone().requires_grad_()
    for j in range(N):
        loss = torch.nn.functional.cross_entropy(problem.model.outputs(leaf, problem.inputs[j][None]), problem.targets[j][None])
        (expected,) = torch.autograd.grad(loss, leaf)
        assert_close(gradients[j], expected, rtol=1e-10, atol=1e-12)
    assert_close(passes.gradient_norm_squares(), gradients.square().sum(1), rtol=1e-12, atol=0)
    clipped = gradients * torch.clamp(0.7 / (gradients.norm(dim=1, keepdim=True) + 1e-6), max=1.0)
    assert_close(problem.gradient(passes, 0.7), clipped.sum(0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 30.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_changes_equal_plain_differences(activation, size, clip_norm):
    problem = make_problem((6, 5), activation)
    params = problem.model.initial(0)
    shift = size * torch.randn(4, len(params), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    passes = problem.forward_backward(params, slice(0, N))
    change = problem.model.gradient_change(params, shift, passes, clip_of(passes, clip_norm))
    before = problem.gradient(passes, clip_norm)
    for row in range(4):
        after = problem.gradient(problem.forward_backward(params + shift[row], slice(0, N)), clip_norm)
        assert_close(change[row], after - before, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_alone_without_differences_gives_the_same(optimizer, removal):
    problem = make_problem((6,), "tanh", removal=removal)
    recipe = Recipe(optimizer=optimizer, epochs=20, batching="shuffled", batch_size=9)
    result = retrain(problem, recipe, [3, 30], seed=5)
    trainer = probe_trainer(problem, torch.float64, recipe)
    whole = trainer.train_one(None, 5)
    assert_close(result.params, whole, rtol=1e-11, atol=1e-13)
    for row, index in enumerate((3, 30)):
        assert_close(result.shift[row], trainer.train_one(index, 5) - whole, **DIFFERENCE)


def test_keeping_the_sum_of_the_decay_is_training_with_more_of_it():
    """removal="sum": N·w is kept, so w of a model without a sample is w·N/(N − 1)."""
    recipe = Recipe(epochs=20)
    problem = make_problem(removal="sum")
    heavier = make_problem(weight_decay=0.01 * N / (N - 1))
    moved = probe_trainer(heavier, torch.float64, recipe).train_one(4, 0)
    whole = probe_trainer(problem, torch.float64, recipe).train_one(None, 0)
    assert_close(retrain(problem, recipe, [4]).shift[0], moved - whole, **DIFFERENCE)


def test_models_do_not_depend_on_which_others_are_trained_with_them():
    problem, recipe = make_problem((6,)), Recipe(epochs=30)
    together = retrain(problem, recipe, [1, 2, 3, 20]).shift
    for row, index in enumerate([1, 2, 3, 20]):
        assert_close(retrain(problem, recipe, [index]).shift[0], together[row], rtol=1e-9, atol=1e-14)


@pytest.mark.slow
def test_converged_training_reaches_the_leave_one_out_optimum():
    problem = make_problem(weight_decay=0.05)
    result = retrain(problem, Recipe(learning_rate=0.4, epochs=600), [0, 9])
    inputs, labels = problem.inputs.numpy(), problem.targets.numpy()
    whole = oracles.train(inputs, labels, C, 0.05)
    for row, index in enumerate((0, 9)):
        expected = oracles.leave_one_out_weights(inputs, labels, C, 0.05, index) - whole
        assert_close(result.shift[row], torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


def test_initialisation_is_that_of_torch():
    for hidden in ((), (6, 5)):
        model = torch_training.make_model(D, hidden, C, "relu", seed=7)
        assert torch.equal(make_problem(hidden).model.initial(7), torch_training.flat(model))


def test_divergence_names_epoch_and_remedy():
    problem = make_problem()
    with pytest.raises(ConvergenceError, match=r"diverged in epoch \d+: the mean loss .* smaller learning rate"):
        retrain(problem, Recipe(learning_rate=500.0, epochs=50), [0])
    problem = make_problem((6,), "gelu", weight_decay=1.0)
    with pytest.raises(ConvergenceError, match="diverged in epoch"):
        retrain(problem, Recipe(learning_rate=5.0, epochs=400), [0])


def test_a_model_that_diverges_alone_is_named():
    """The outlier holds back the others: without it nothing does."""
    problem = make_problem()
    change = torch.zeros(2, problem.model.n_params, dtype=torch.float64)
    change[1, 3] = torch.inf
    with pytest.raises(ConvergenceError, match=r"without the sample in row 11 diverged in epoch 5 \(1 of 2 models\)"):
        Sense(private=False).require(1.0, Pair(problem.model.initial(0), change), torch.tensor([8, 11]), 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_tanh_keeps_its_change(dtype):
    at = torch.tensor([-10.0, -10.0, 20.0, -3.0, 0.2], dtype=dtype)
    change = torch.tensor([9.0, 20.0, -19.5, 1e-5, 0.49], dtype=dtype)
    value, slope = ACTIVATIONS["tanh"].change(at, change)
    before, after = at.double().tanh(), (at.double() + change.double()).tanh()
    rtol = 1e-5 if dtype == torch.float32 else 1e-10
    assert_close(value.double(), after - before, rtol=rtol, atol=1e-12)
    assert_close(slope.double(), before.square() - after.square(), rtol=rtol, atol=1e-12)


@pytest.mark.slow
def test_sam_survives_batches_that_lose_their_only_member():
    problem = make_problem((6,))
    recipe = Recipe(batching="poisson", batch_size=2, sam_radius=0.05, learning_rate=0.01, epochs=4)
    indices = list(range(0, N, 5))
    result = retrain(problem, recipe, indices, seed=1)
    trainer = probe_trainer(problem, torch.float64, recipe)
    whole = trainer.train_one(None, 1)
    for row, index in enumerate(indices):
        assert_close(result.shift[row], trainer.train_one(index, 1) - whole, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_divisors_that_are_public_keep_the_whole_decay():
    """Clipping that clips nothing, to convergence: the optimum of the loss without the sample and N·w in total."""
    problem = make_problem(weight_decay=0.05)
    inputs, labels = problem.inputs.numpy(), problem.targets.numpy()
    whole = oracles.train(inputs, labels, C, 0.05)
    expected = oracles.leave_one_out_weights(inputs, labels, C, 0.05, 9, "sum") - whole
    for removal in ("mean", "sum"):
        problem = make_problem(weight_decay=0.05, removal=removal)
        shift = retrain(problem, Recipe(learning_rate=0.4, epochs=600, clip_norm=1e9), [9]).shift[0]
        assert_close(shift, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)
