"""Measures the retraining engine; each part ends with one JSON line of its figures.

    python benchmarks/retrain.py digits                    batched trainer against torch and opacus, each model alone
    python benchmarks/retrain.py speed DATA.npz            64 models at once against one at a time, and the bare products
    python benchmarks/retrain.py agreement DATA.npz        preset "paper" against the closed form, samples over the LSI range
    python benchmarks/retrain.py resume                    kill -9 in the middle, resume, compare the rows bit by bit

Run it as `OMP_WAIT_POLICY=PASSIVE python benchmarks/retrain.py …`, as `lapsi` itself runs (lapsi/environment.py).

DATA.npz holds `features_train` and `labels_train` (or `features` and `labels`). Everything runs in this process, except what is
killed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn

from lapsi.curvature.ggn import laplace_posterior
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.standardize import standardizer_of
from lapsi.engines.retrain.steps import probe_trainer
from lapsi.engines.retrain.trainer import Trainer
from lapsi.execution.progress import Stages
from lapsi.linalg.matmul import matmul
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.mlp import Mlp
from lapsi.precision.divergence import KL
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.scoring import score_dataset
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import make_settings
from lapsi.training.pair import Snapshot

WEIGHT_DECAY = 0.01
PRIVATE_CLIP = 1.0
MODELS = {"digits": 50, "speed": 64, "agreement": 64, "resume": 60}
EPOCHS = {"digits": 100, "speed": 10, "agreement": Recipe().epochs, "resume": 60}


def make_trainer(dataset: Dataset, hidden: tuple[int, ...], recipe: Recipe, dtype: torch.dtype) -> Trainer[NetworkProblem]:
    inputs = torch.from_numpy(standardizer_of(dataset.survey, "each").all_inputs(dataset.features))
    model = Mlp((inputs.shape[1], *hidden, dataset.n_classes), ACTIVATIONS["relu"])
    likelihood, objective = softmax(dataset.n_classes, torch.device("cpu")), Objective(WEIGHT_DECAY, "map", "mean")
    problem = NetworkProblem(inputs, torch.from_numpy(dataset.labels), model, likelihood, objective)
    return probe_trainer(problem, dtype, recipe)


def torch_model(n_inputs: int, hidden: tuple[int, ...], n_classes: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    sizes = [n_inputs, *hidden, n_classes]
    layers: list[nn.Module] = []
    for width, out in itertools.pairwise(sizes):
        layers += [nn.Linear(width, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def flat(model: nn.Module) -> torch.Tensor:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return torch.cat([torch.cat([layer.weight, layer.bias[:, None]], 1).flatten() for layer in layers]).detach()


def train_alone(trainer: Trainer[NetworkProblem], hidden: tuple[int, ...], seed: int, without: int | None) -> torch.Tensor:
    """Params (P,) of one torch model in float64, full batch; with per-sample clipping by opacus where the recipe clips."""
    problem, recipe = trainer.problem, trainer.recipe
    keep = torch.arange(problem.n_samples) != (-1 if without is None else without)
    features, labels = problem.inputs[keep, :-1], problem.targets[keep]
    model: nn.Module = torch_model(features.shape[1], hidden, problem.model.n_outputs, seed).double()
    options: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": WEIGHT_DECAY}
    if recipe.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(model.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **options)
    if recipe.clip_norm is not None:
        model = GradSampleModule(model)
        sizes = {"max_grad_norm": recipe.clip_norm, "expected_batch_size": problem.n_samples}
        optimizer = DPOptimizer(optimizer, noise_multiplier=0.0, **sizes)
    for _ in range(recipe.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()
    return flat(model)


def errors_alone(
    trainer: Trainer[NetworkProblem], hidden: tuple[int, ...], indices: torch.Tensor, exact: Snapshot, narrow: Snapshot
) -> dict[str, float]:
    """Largest relative errors of the changes of the parameters (float64) and of LSI (float32) against each model alone."""
    whole = train_alone(trainer, hidden, 0, None)
    before = laplace_posterior(trainer.problem, whole, "diag")
    rough = laplace_posterior(trainer.problem, narrow.params, "diag")
    errors, lsi_errors = [], []
    for row, index in enumerate(indices.split(1)):
        moved = train_alone(trainer, hidden, 0, int(index))
        shift = moved - whole
        errors.append(float((exact.shift[row] - shift).norm() / shift.norm()))
        expected = before.divergence_from(shift, laplace_posterior(trainer.problem.remove(index), moved, "diag"), KL()).total
        change = narrow.shift[row].double()
        after = laplace_posterior(trainer.problem.remove(index), narrow.params + change, "diag")
        got = rough.divergence_from(change, after, KL()).total
        lsi_errors.append(abs(float(got / expected) - 1))
    return {"max_shift_error_float64": max(errors), "max_lsi_error_float32": max(lsi_errors)}


def digits(arguments: argparse.Namespace) -> None:
    data = load_digits()
    dataset = make_dataset(data.data, data.target)
    indices = torch.arange(0, dataset.n_samples, 36)[: arguments.models]
    epochs = arguments.epochs
    recipes = {
        "sgd": Recipe(epochs=epochs),
        "adam": Recipe(optimizer="adam", learning_rate=0.01, epochs=epochs),
        "opacus": Recipe(clip_norm=PRIVATE_CLIP, epochs=epochs),
    }
    records: list[dict[str, Any]] = []
    for hidden, (name, recipe) in itertools.product(((), (32,)), recipes.items()):
        trainer = make_trainer(dataset, hidden, recipe, torch.float64)
        (exact,) = trainer(indices, 0, {epochs}, lambda _: None)
        (narrow,) = make_trainer(dataset, hidden, recipe, torch.float32)(indices, 0, {epochs}, lambda _: None)
        start = time.perf_counter()
        record: dict[str, Any] = {"against": name, "hidden": hidden, "models": len(indices), "epochs": epochs}
        record |= errors_alone(trainer, hidden, indices, exact, narrow)
        record["seconds_alone"] = round(time.perf_counter() - start, 1)
        print(json.dumps({"part": "digits", **record}), flush=True)
        records.append(record)
    print(json.dumps({"part": "digits", "records": records}))


def bare_seconds(inputs: torch.Tensor, n_columns: int, rows: int) -> float:
    """Wall time of the two matrix products of one epoch and nothing else, in blocks of `rows`."""
    weights, buffer = torch.randn(n_columns, inputs.shape[1]), torch.empty(rows, n_columns)
    gradient = torch.empty(n_columns, inputs.shape[1])
    start = time.perf_counter()
    for first in range(0, len(inputs), rows):
        block = inputs[first : first + rows]
        product = matmul(block, weights.T, out=buffer[: len(block)])
        matmul(product.T, block, out=gradient)
    return time.perf_counter() - start


def plain_seconds(dataset: Dataset, epochs: int) -> float:
    """Wall time of an epoch of one leave-one-out model (the first sample left out) with plain torch SGD, float32."""
    inputs = standardizer_of(dataset.survey, "each").all_inputs(dataset.features)[1:, :-1]
    features, labels = torch.from_numpy(inputs).float(), torch.from_numpy(dataset.labels[1:])
    model = torch_model(features.shape[1], (), dataset.n_classes, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.04, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    start = 0.0
    for epoch in range(epochs + 1):
        start = time.perf_counter() if epoch == 1 else start
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()
    return (time.perf_counter() - start) / epochs


def batched_seconds(trainer: Trainer[NetworkProblem], indices: torch.Tensor) -> float:
    """Wall time of an epoch of all models without a sample at once; the first epoch warms up."""
    epochs, ticks = trainer.recipe.epochs, []

    def tick(_: int) -> None:
        ticks.append(time.perf_counter())

    list(trainer(indices, 0, {epochs}, tick))
    return (ticks[-1] - ticks[0]) / (epochs - 1)


def speed(arguments: argparse.Namespace) -> None:
    dataset = read_dataset(arguments.data, Columns())
    n_models = arguments.models
    trainer = make_trainer(dataset, (), Recipe(epochs=arguments.epochs + 1), torch.float32)
    indices, rounds = torch.arange(n_models), []
    n_columns, rows = n_models * dataset.n_classes, 8192
    for _ in range(arguments.rounds):
        batched = batched_seconds(trainer, indices)
        bare = float(
            np.mean(
                [
                    bare_seconds(trainer.problem.inputs.to(trainer.losses.dtype), n_columns, rows)
                    for _ in range(arguments.epochs)
                ]
            )
        )
        rounds.append((batched / n_models, bare / n_models, plain_seconds(dataset, arguments.epochs)))
    batched, bare, plain = np.median(rounds, 0)
    flop = 4.0 * dataset.n_samples * (dataset.n_features + 1) * dataset.n_classes
    record = {
        "part": "speed",
        "models": n_models,
        "ms_per_model_epoch": round(1e3 * batched, 2),
        "ms_bare_products": round(1e3 * bare, 2),
        "ms_plain_torch": round(1e3 * plain, 2),
        "ratio_to_plain": round(float(np.median([p / b for b, _, p in rounds])), 2),
        "share_of_bare_flop_rate": round(float(np.median([x / b for b, x, _ in rounds])), 3),
        "gflop_per_s": round(flop / batched / 1e9, 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(record), flush=True)


def agreement(arguments: argparse.Namespace) -> None:
    dataset = read_dataset(arguments.data, Columns())
    everything = np.arange(dataset.n_samples)
    closed, _ = score_dataset(
        dataset, make_settings(weight_decay=WEIGHT_DECAY, standardize="each", verify=0), everything, Stages(show=False)
    )
    order = np.argsort(closed.lsi)
    rows = order[np.linspace(0, len(order) - 1, arguments.models).round().astype(int)]
    recipe = replace(Recipe(), epochs=arguments.epochs, seeds=arguments.seeds)
    settings = make_settings(engine="retrain", recipe=recipe, verify=arguments.verify)
    start = time.perf_counter()
    retrained, _ = score_dataset(dataset, settings, rows, Stages(show=True))
    gap = np.abs(retrained.lsi / closed.lsi[rows] - 1)
    record = {
        "part": "agreement",
        "samples": len(rows),
        "epochs": recipe.epochs,
        "seeds": recipe.seeds,
        "spearman": float(spearmanr(retrained.lsi, closed.lsi[rows]).statistic),
        "median_relative_difference": float(np.median(gap)),
        "max_relative_difference": float(gap.max()),
        "verification": retrained.provenance.verification,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(record), flush=True)


def resume(arguments: argparse.Namespace) -> None:
    data = load_digits()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "digits.npz"
        np.savez(source, features=data.data, labels=data.target)
        options = ["--epochs", str(arguments.epochs), "--limit", str(arguments.models), "--seeds", "8"]
        options += ["--hidden", "16", "--verify", "0"]
        score = [sys.executable, "-m", "lapsi", "score", str(source), "--quiet", *options]
        subprocess.run([*score, "-o", str(Path(folder) / "whole")], check=True)
        interrupted = Path(folder) / "interrupted"
        process = subprocess.Popen([*score, "-o", str(interrupted)])
        parts = Path(f"{interrupted}.partial")
        while len(list(parts.glob("*.npz")) if parts.exists() else []) < 4 and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = len(list(parts.glob("*.npz")))
        subprocess.run([sys.executable, "-m", "lapsi", "score", "--resume", str(interrupted), "--quiet"], check=True)
        files = ("scores.parquet", "loo_proba.npy")
        equal = all((Path(folder) / "whole" / file).read_bytes() == (interrupted / file).read_bytes() for file in files)
        record = {"part": "resume", "exit_status_of_the_killed": process.returncode, "parts_kept": kept, "bit_identical": equal}
        print(json.dumps(record), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["digits", "speed", "agreement", "resume"])
    parser.add_argument("data", type=Path, nargs="?", help="feature file of speed and agreement")
    parser.add_argument("--models", type=int, help=f"without one sample each; default: {MODELS}")
    parser.add_argument("--epochs", type=int, help=f"of the recipe; speed: a round; default: {EPOCHS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--verify", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.part in ("speed", "agreement") and arguments.data is None:
        parser.error(f"{arguments.part} needs DATA.npz")
    arguments.models = arguments.models or MODELS[arguments.part]
    arguments.epochs = arguments.epochs or EPOCHS[arguments.part]
    {"digits": digits, "speed": speed, "agreement": agreement, "resume": resume}[arguments.part](arguments)


if __name__ == "__main__":
    main()
