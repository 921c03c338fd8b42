"""Many models of a module at once against torch's own optimisers on one model alone."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from lapsi.data.batches import batches_of
from lapsi.engines.retrain import module as retrain_module
from lapsi.engines.retrain.module import models_at_once
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.module.choose import layers_of
from lapsi.models.module.footprint import footprint
from lapsi.models.module.roots import FewestRoots
from lapsi.models.module.sample_loss import OnePrediction
from lapsi.problem.module import ModuleProblem
from lapsi.problem.objective import Objective
from lapsi.settings.recipe import Recipe
from lapsi.training.stacked import NOBODY, StackedTrainer, outputs_at

N, CLASSES, WEIGHT_DECAY, EPOCHS = 12, 3, 0.01, 7
ALONE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.Tanh(), nn.Conv2d(4, 6, 2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, CLASSES),
    ).double()  # fmt: skip
    images = torch.randn(N, 1, 5, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    batches = batches_of(TensorDataset(images, labels), None, next(module.parameters()))
    likelihood = softmax(CLASSES, torch.device("cpu"))
    loss = OnePrediction(likelihood, labels, FewestRoots(0.0))
    return ModuleProblem(module, layers_of(module), batches, loss, Objective(WEIGHT_DECAY, "map", "mean"), 64)


def alone(problem, recipe, without):
    """Params (P,) after training one model as torch does, full batch, without a sample; the module comes back as it was."""
    module, start = problem.module, {name: value.clone() for name, value in problem.module.state_dict().items()}
    module.eval()
    rows = [row for row in range(N) if row != without]
    given = problem.batches.take(rows)
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            module.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=WEIGHT_DECAY, nesterov=recipe.nesterov
        )
    else:
        optimizer = torch.optim.Adam(module.parameters(), recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(*given.inputs), given.targets).backward()
        optimizer.step()
    params = problem.params
    module.load_state_dict(start)
    return params


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_each_model_is_the_one_that_torch_trains_alone(problem, optimizer, at_once):
    recipe = Recipe(optimizer=optimizer, learning_rate=0.05, epochs=EPOCHS)
    indices = torch.tensor([3, 0, 11, NOBODY])
    trainer, told = StackedTrainer(problem, recipe, at_once), []
    (last,) = trainer(indices, problem.params, 0, {EPOCHS}, told.append)
    assert_close(last.params, alone(problem, recipe, NOBODY), **ALONE)
    for index, shift in zip(indices.tolist(), last.shift, strict=True):
        assert_close(last.params + shift, alone(problem, recipe, index), **ALONE)
    assert float(last.shift[:3].abs().max()) > 1e-4
    assert float(last.shift[3].abs().max()) < 1e-12
    assert told == [1] * EPOCHS


def test_models_whose_steps_fill_the_caches_are_trained_one_by_one(problem, monkeypatch):
    whole, batches = Recipe(), Recipe(batching="shuffled", batch_size=4)
    assert models_at_once(problem, whole) == models_at_once(problem, batches) == retrain_module.PART_MODELS
    one = footprint(problem.module, problem.layers, problem.batches)
    monkeypatch.setattr(retrain_module, "CACHED_BYTES", 8 * (one.inputs + one.left) * (N - 1))
    assert (models_at_once(problem, whole), models_at_once(problem, batches)) == (1, retrain_module.PART_MODELS)
    monkeypatch.setattr(retrain_module, "MODEL_BYTES", 3 * retrain_module.model_bytes(problem))
    assert models_at_once(problem, batches) == 3


def test_snapshots_are_those_of_shorter_trainings(problem):
    trainer = StackedTrainer(problem, Recipe(epochs=4, batching="shuffled", batch_size=5), 8)
    found = [
        (each.epoch, each.params.clone(), each.shift.clone())
        for each in trainer(torch.tensor([2, 5]), problem.params, 1, {0, 2, 4}, lambda _: None)
    ]
    assert [epoch for epoch, *_ in found] == [0, 2, 4]
    assert float(found[0][2].abs().max()) == 0
    short = StackedTrainer(problem, Recipe(epochs=2, batching="shuffled", batch_size=5), 8)
    (two,) = short(torch.tensor([2, 5]), problem.params, 1, {2}, lambda _: None)
    assert_close(found[1][1], two.params, rtol=0, atol=0)
    assert_close(found[1][2], two.shift, rtol=0, atol=0)


def test_outputs_of_each_model_are_those_of_its_own_sample(problem):
    rows = torch.tensor([4, 9])
    params = problem.params + 0.1 * torch.randn(
        2, problem.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    found = outputs_at(problem, params, rows)
    before = problem.params
    for own, row, outputs in zip(params, rows, found, strict=True):
        with torch.no_grad():
            for layer, part in zip(problem.layers, own.split([layer.n_params for layer in problem.layers]), strict=True):
                for name, value in layer.split(part).items():
                    layer.module.get_parameter(name).copy_(value)
        assert_close(outputs, problem.outputs(own, row[None])[0], **ALONE)
    assert float((problem.params - before).abs().max()) > 0
