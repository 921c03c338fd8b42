"""Scores a feature file and prints one JSON line: time by stage, memory, accuracy, and what one plain retraining takes.

    python benchmarks/linear_probe.py DATA.npz [--checks 32] [--epochs 1000] [--curvature diag] [--samples N]

DATA.npz holds `features_train` and `labels_train` (or `features` and `labels`). The retraining is the straightforward one:
torch SGD, full batch, Nesterov momentum 0.9, learning rate 0.04, float32, in the same process, on the same inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.standardize import standardizer_of
from lapsi.execution.progress import Stages
from lapsi.scoring import score_dataset
from lapsi.settings.settings import make_settings


def retrain_seconds(dataset: Dataset, weight_decay: float, epochs: int) -> float:
    """Wall time of training one leave-one-out model (the first sample left out) with plain torch."""
    inputs = standardizer_of(dataset.survey, "each").all_inputs(dataset.features)[1:]
    x, y = torch.from_numpy(inputs).float(), torch.from_numpy(dataset.labels[1:])
    torch.manual_seed(0)
    model = torch.nn.Linear(x.shape[1], dataset.n_classes, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.04, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    start = time.perf_counter()
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checks", type=int, default=32, help="samples checked against converged leave-one-out optima")
    parser.add_argument("--epochs", type=int, default=1000, help="epochs of the plain retraining; 0 skips it")
    parser.add_argument("--curvature", default="diag")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--samples", type=int, help="use the first SAMPLES rows only, to see the cost grow")
    arguments = parser.parse_args()

    dataset = read_dataset(arguments.data, Columns())
    if arguments.samples:
        dataset = make_dataset(
            dataset.features.read(slice(0, arguments.samples)), dataset.classes[dataset.labels[: arguments.samples]]
        )
    settings = make_settings(
        curvature=arguments.curvature, weight_decay=arguments.weight_decay, standardize="each", verify=arguments.checks
    )
    start = time.perf_counter()
    scores, _ = score_dataset(dataset, settings, np.arange(dataset.n_samples), Stages(show=False))
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verification = scores.provenance.verification or {}
    without_checks = whole - scores.provenance.seconds.get("verify", 0.0)
    record = {
        "data": arguments.data.name,
        "n_samples": dataset.n_samples,
        "n_features": dataset.n_features,
        "n_classes": dataset.n_classes,
        "curvature": arguments.curvature,
        "seconds": {name: round(value, 2) for name, value in scores.provenance.seconds.items()},
        "seconds_whole": round(whole, 2),
        "seconds_without_checks": round(without_checks, 2),
        "peak_gib": round(peak, 3),
        "max_relative_error": verification.get("max_relative_error"),
        "median_relative_error": verification.get("median_relative_error"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if arguments.epochs:
        one = retrain_seconds(dataset, arguments.weight_decay, arguments.epochs)
        per_sample = without_checks / dataset.n_samples
        record |= {"seconds_one_retraining": round(one, 2), "ratio_per_sample": round(one / per_sample)}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
