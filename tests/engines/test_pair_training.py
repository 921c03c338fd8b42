"""Pairs trained without one of them, many models at once, against torch training each alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lapsi.engines.retrain.pairs import pair_trainer
from lapsi.models.towers import Towers
from lapsi.problem.contrastive import ContrastiveProblem
from lapsi.problem.objective import Objective
from lapsi.settings.recipe import Recipe
from lapsi.training.pair import Pair
from lapsi.training.sampling import Batch

N, WIDTHS, E, DECAY = 17, (6, 5), 4, 0.01
RECIPES = {
    "adam": Recipe(optimizer="adam", learning_rate=0.01, epochs=60),
    "adamw": Recipe(optimizer="adamw", learning_rate=0.02, epochs=30, schedule="cosine"),
    "sgd": Recipe(epochs=60),
    "sam": Recipe(sam_radius=0.05, epochs=30),
    "batches": Recipe(optimizer="adam", learning_rate=0.01, epochs=12, batching="shuffled", batch_size=6),
}


def make_problem(temperature=0.5, removal="mean"):
    generator = torch.Generator().manual_seed(5)
    first, second = (torch.randn(N, width, dtype=torch.float64, generator=generator) for width in WIDTHS)
    first[:, -1] = second[:, -1] = 1
    return ContrastiveProblem(first, second, Towers(WIDTHS, E), temperature, Objective(DECAY, "map", removal))


def train(problem, recipe, indices, dtype=torch.float64):
    (last,) = pair_trainer(problem, dtype, recipe)(torch.tensor(indices), 0, {recipe.epochs}, lambda _: None)
    return last


def torch_alone(problem, epochs, without, rate=0.01):
    """Two linear layers by torch.optim.Adam, on the pairs that are left."""
    towers = [nn.Linear(width - 1, E).double() for width in WIDTHS]
    for layer, whole in zip(towers, problem.model.projections(problem.initial(0)), strict=True):
        layer.weight.data, layer.bias.data = whole[:, :-1].clone(), whole[:, -1].clone()
    optimizer = torch.optim.Adam([p for layer in towers for p in layer.parameters()], lr=rate, weight_decay=DECAY)
    keep = torch.arange(N) != (-1 if without is None else without)
    first, second = problem.first[keep, :-1], problem.second[keep, :-1]
    own = torch.arange(len(first))
    for _ in range(epochs):
        u, v = (nn.functional.normalize(layer(x)) for layer, x in zip(towers, (first, second), strict=True))
        matrix = u @ v.T / problem.temperature
        loss = (nn.functional.cross_entropy(matrix, own) + nn.functional.cross_entropy(matrix.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.cat([torch.cat([layer.weight, layer.bias[:, None]], 1).flatten() for layer in towers]).detach()


def test_models_are_those_of_torch_alone():
    problem, recipe, indices = make_problem(), RECIPES["adam"], [0, 3, 16]
    found = train(problem, recipe, indices)
    whole = torch_alone(problem, recipe.epochs, None)
    assert_close(found.params, whole, rtol=1e-10, atol=1e-12)
    for shift, index in zip(found.shift, indices, strict=True):
        assert_close(shift, torch_alone(problem, recipe.epochs, index) - whole, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_models_trained_together_are_those_trained_alone(recipe, removal):
    problem, indices = make_problem(removal=removal), [1, 8]
    found, trainer = train(problem, recipe, indices), pair_trainer(problem, torch.float64, recipe)
    whole = trainer.train_one(None, 0)
    assert_close(found.params, whole, rtol=1e-12, atol=1e-14)
    for shift, index in zip(found.shift, indices, strict=True):
        alone = trainer.train_one(index, 0) - whole
        assert float((shift - alone).norm() / alone.norm()) < 1e-8


@pytest.mark.parametrize("recipe", [RECIPES["adam"], RECIPES["sgd"]], ids=["adam", "sgd"])
def test_changes_in_float32_keep_their_digits(recipe):
    problem, indices = make_problem(), [1, 8]
    found, narrow = (train(problem, recipe, indices, dtype).shift.double() for dtype in (torch.float64, torch.float32))
    assert float(((found - narrow).norm(dim=1) / found.norm(dim=1)).max()) < 3e-4


def test_nothing_moves_where_nothing_leaves():
    """A pair that stands in no batch leaves all as it was, under the total weight decay."""
    problem = replace(make_problem(), objective=Objective(DECAY, "map", "mean"))
    recipe = Recipe(optimizer="adam", learning_rate=0.01, epochs=1, batching="sequential", batch_size=8)
    trainer = pair_trainer(problem, torch.float64, recipe)
    loss = trainer.losses.without_each(torch.tensor([N - 1]))
    params = problem.initial(0)
    still = Pair(params, torch.zeros(1, len(params), dtype=torch.float64))
    assert float(loss(still, Batch(slice(0, 8), 8, True)).change.abs().max()) < 1e-17
    assert float(loss(still, Batch(slice(9, N), 8, True)).change.abs().max()) > 1e-4
