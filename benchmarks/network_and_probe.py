"""Rank correlations of LSI of a whole network, of its last layer and of a probe (paper, Appendix D, Table 1); one JSON line.

    python benchmarks/network_and_probe.py IMAGES.zip MODEL [--samples 400] [--epochs 60] [--folder FOLDER]

A network of three convolutions and a linear head on the images of the first three classes is trained without each of them, in
one stack (full batch, Nesterov, from the same weights): LSI of all parameters and of the last layer of the same trainings. "as
in the code" is what the published code computes, which keeps the sample in when it trains: the curvature alone, at the same
weights. `ekfac`: one step from the trained weights. The probe is on the features of MODEL, a folder as transformers saves it.
With --folder finished parts are kept, and the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from networks import images
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lapsi
from lapsi.curvature.basis import plain_basis
from lapsi.curvature.diagonals import RootSquares
from lapsi.curvature.said import said_by
from lapsi.data.batches import batches_of
from lapsi.engines.retrain.module import trained_on_all
from lapsi.models.module.choose import layers_of
from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import KL
from lapsi.problem.module import ModuleProblem
from lapsi.problem.of_module import Told, module_problem
from lapsi.settings.network import NetworkSettings, NetworkSpec
from lapsi.training.module_optimum import in_float64, set_params
from lapsi.training.stacked import StackedTrainer

CLASSES, WEIGHT_DECAY = 3, 5e-4
AT_ONCE = 20
PAPER = {"network - last layer": 0.98, "network - probe": 0.93, "last layer - probe": 0.90}


def network() -> nn.Module:
    """Three convolutions and a linear head."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 16, CLASSES),
    )  # fmt: skip


def diagonal(problem: ModuleProblem, last: bool) -> Tensor:
    """λ of the posterior over all parameters, or over those of the last layer, where the module stands."""
    layers = problem.layers[-1:] if last else problem.layers
    structure, basis = RootSquares(plain_basis(problem.layers)), plain_basis(problem.layers)
    total = torch.stack([said.square_sum(basis) for said in said_by(problem, problem.present)]).sum(0)
    whole = structure.diagonal(problem, total) + problem.objective.prior(problem.total)
    return whole[-sum(layer.n_params for layer in layers) :]


def divergences(problem: ModuleProblem, params: Tensor, shifts: Tensor) -> dict[str, np.ndarray]:
    """LSI (n,) of all parameters and of the last layer, of the definition and of the curvature alone."""
    moved, found = in_float64(problem), {name: np.empty(len(shifts)) for name in ("network", "last layer")}
    found |= {f"{name}, as in the code": np.empty(len(shifts)) for name in ("network", "last layer")}
    set_params(moved.layers, params)
    before = {last: diagonal(moved, last) for last in (False, True)}
    for row, shift in enumerate(shifts):
        without = moved.remove(torch.tensor([row]))
        for last, name in ((False, "network"), (True, "last layer")):
            own = shift[-len(before[last]) :]
            set_params(moved.layers, params + shift)
            after = DiagPrecision(diagonal(without, last))
            found[name][row] = float(KL().of(DiagPrecision(before[last]).compare_to(own, after)).total)
            set_params(moved.layers, params)
            after = DiagPrecision(diagonal(without, last))
            found[f"{name}, as in the code"][row] = float(KL().of(DiagPrecision(before[last]).compare_to(0 * own, after)).total)
    return found


def main() -> None:
    """Trains, compares, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(5)
    everything = images(arguments.images, 10**9)
    rows = torch.nonzero(everything.tensors[1] < CLASSES).flatten()[: arguments.samples]
    data = TensorDataset(everything.tensors[0][rows], everything.tensors[1][rows])
    model = network()
    recipe = lapsi.Recipe(learning_rate=arguments.learning_rate, epochs=arguments.epochs, seeds=1)
    objective = lapsi.ObjectiveSpec(weight_decay=WEIGHT_DECAY)
    settings = NetworkSettings(
        NetworkSpec("CNN", loss="cross_entropy"), objective, lapsi.Retrain(recipe), "diag", lapsi.Execution()
    )
    layers = layers_of(model)
    batches = batches_of(data, None, next(model.parameters()))
    problem = module_problem(model, layers, batches, settings, Told(None, None, None), lambda _: None).problem
    start, seconds = problem.params, time.perf_counter()
    params = trained_on_all(problem, recipe, start, 0, lambda _: None)
    shifts = shifts_of(problem, recipe, start, arguments.folder)
    training = time.perf_counter() - seconds
    lsi = divergences(problem, params, shifts)
    moved = in_float64(problem)
    set_params(moved.layers, params)
    trained = moved.module.float()
    for name, refine in (("ekfac", 0), ("ekfac, refined", "all")):
        scores = lapsi.score_network(
            trained,
            data,
            engine=lapsi.Ekfac(refine=refine),
            curvature="diag",
            objective=objective,
            execution=lapsi.Execution(verify=0),
            progress=False,
        )
        lsi[name] = scores.lsi
    pixels = ((data.tensors[0] + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    features = lapsi.embed(pixels, kind="image", model=arguments.model, progress=False)
    lsi["probe"] = lapsi.score(features, data.tensors[1].numpy(), verify=0, progress=False).lsi
    accuracy = float((trained(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean())
    record = {
        "n_samples": len(data),
        "epochs": arguments.epochs,
        "train_accuracy": accuracy,
        "seconds_of_training": round(training, 1),
        "spearman": {f"{a} - {b}": round(float(spearmanr(lsi[a], lsi[b])[0]), 3) for a, b in combinations(lsi, 2)},
        "paper": PAPER,
    }
    print(json.dumps(record))


def shifts_of(problem: ModuleProblem, recipe: lapsi.Recipe, start: Tensor, folder: Path | None) -> Tensor:
    """(n, P) float64 of the models without each sample, some at once; those of a folder where they are there."""
    trainer, found = StackedTrainer(problem, recipe, AT_ONCE), []
    for part in torch.arange(problem.n_samples).split(AT_ONCE):
        kept = None if folder is None else folder / f"{int(part[0]):05}.pt"
        if kept is not None and kept.exists():
            found.append(torch.load(kept))
            continue
        (last,) = trainer(part, start, 0, {recipe.epochs}, lambda _: None)
        found.append(last.shift.double())
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(found[-1], kept)
    return torch.cat(found)


if __name__ == "__main__":
    main()
