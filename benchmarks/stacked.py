"""A network trained without samples, many at once, against torch's optimisers on one model alone; prints one JSON line.

    python benchmarks/stacked.py digits [--samples 200] [--models 8] [--epochs 50]
    python benchmarks/stacked.py IMAGES.zip|FOLDER [--samples 200] [--models 8] [--epochs 50]

Three convolutions with group norm and a linear head in float64, full batches, from the same weights; digits of 8 × 8 pixels, or
images of 32 × 32 in one folder a class. `of_params`: the largest relative distance of the parameters; `of_shifts`: the same of
what a sample moves, which is the difference of two trainings where each is made alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from itertools import pairwise
from pathlib import Path

import torch
from networks import images
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lapsi
from lapsi.data.batches import batches_of
from lapsi.engines.retrain.module import models_at_once
from lapsi.models.module.choose import layers_of
from lapsi.problem.module import ModuleProblem
from lapsi.problem.of_module import Told, module_problem
from lapsi.settings.network import NetworkSettings, NetworkSpec
from lapsi.training.stacked import NOBODY, StackedTrainer

WEIGHT_DECAY, WIDTHS = 5e-4, (8, 16, 16)


def data_of(name: str, n_samples: int) -> TensorDataset:
    """Pixels (n, c, h, w), float64, and labels."""
    if name == "digits":
        pixels, labels = load_digits(return_X_y=True)
        inputs, targets = torch.from_numpy(pixels).reshape(-1, 1, 8, 8) / 16, torch.from_numpy(labels)
        return TensorDataset(inputs[:n_samples], targets[:n_samples])
    inputs, targets = images(Path(name), n_samples).tensors
    return TensorDataset(inputs.double(), targets)


def network(inputs: Tensor) -> nn.Module:
    """Three convolutions, each halved in size, and a linear head of ten classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in pairwise((inputs.shape[1], *WIDTHS)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU(), nn.MaxPool2d(2)]
    side = inputs.shape[2] // 8
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * side * side, 10)).double()


def problem_of(module: nn.Module, data: TensorDataset, recipe: lapsi.Recipe) -> ModuleProblem:
    """What is minimised."""
    objective, engine = lapsi.ObjectiveSpec(weight_decay=WEIGHT_DECAY), lapsi.Retrain(recipe)
    settings = NetworkSettings(NetworkSpec("CNN", loss="cross_entropy"), objective, engine, "diag")
    batches = batches_of(data, None, next(module.parameters()))
    return module_problem(module, layers_of(module), batches, settings, Told(None, None, None), lambda _: None).problem


def alone(module: nn.Module, data: TensorDataset, recipe: lapsi.Recipe, without: int) -> Tensor:
    """Params (P,) of one model that torch trains, full batches."""
    model, rows = copy.deepcopy(module).eval(), torch.arange(len(data)) != without
    inputs, targets = (each[rows] for each in data.tensors)
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=WEIGHT_DECAY, nesterov=recipe.nesterov
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return torch.cat([layer.params for layer in layers_of(model)])


def compare(data: TensorDataset, recipe: lapsi.Recipe, n_models: int) -> dict[str, object]:
    """Errors and seconds of one recipe."""
    module = network(data.tensors[0])
    problem, indices = problem_of(module, data, recipe), torch.linspace(0, len(data) - 1, n_models).long()
    start = time.perf_counter()
    (last,) = StackedTrainer(problem, recipe, models_at_once(problem, recipe))(
        indices, problem.params, 0, {recipe.epochs}, lambda _: None
    )
    stacked = time.perf_counter() - start
    start = time.perf_counter()
    whole = alone(module, data, recipe, NOBODY)
    each = torch.stack([alone(module, data, recipe, int(index)) for index in indices])
    by_itself = time.perf_counter() - start
    of_params = (last.params + last.shift - each).norm(dim=1) / each.norm(dim=1)
    of_shifts = (last.shift - (each - whole)).norm(dim=1) / last.shift.norm(dim=1)
    return {
        "of_params": float(of_params.max()),
        "of_shifts": float(of_shifts.max()),
        "smallest_shift": float((last.shift.norm(dim=1) / each.norm(dim=1)).min()),
        "seconds_stacked": round(stacked, 2),
        "seconds_alone": round(by_itself, 2),
    }


def main() -> None:
    """Compares both optimisers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=50)
    arguments = parser.parse_args()
    data = data_of(arguments.data, arguments.samples)
    recipes = {
        "sgd": lapsi.Recipe(learning_rate=0.05, epochs=arguments.epochs, seeds=1),
        "adam": lapsi.Recipe(optimizer="adam", learning_rate=0.003, epochs=arguments.epochs, seeds=1),
    }
    record = {"data": arguments.data, "samples": len(data), "models": arguments.models, "epochs": arguments.epochs}
    print(json.dumps(record | {name: compare(data, recipe, arguments.models) for name, recipe in recipes.items()}))


if __name__ == "__main__":
    main()
