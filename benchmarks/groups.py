"""Leaves every group of synthetic hard data out and prints one JSON line: seconds, and how far the slow way is.

    python benchmarks/groups.py [--samples 5856] [--features 512] [--classes 3] [--groups 2790] [--checks 8]

Groups of few rows that resemble each other, correlated features, a tenth of the labels drawn anew and some rows four times as
long. The slow way takes each group by a factorisation of its own and one pass over the data a step; it goes through `--checks`
groups after the fast way has gone through all, in the same process. `share_of_flop_rate` is what the planned flop would take at
the rate of a large matrix product, measured right after it, as a share of what they took.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator

import numpy as np
import torch

from lapsi.data.dataset import make_dataset
from lapsi.data.standardize import standardizer_of
from lapsi.engines.base import work_of
from lapsi.engines.groups.engine import GroupsFit, by_size, groups_fit
from lapsi.engines.groups.plan import groups_seconds, plan_groups
from lapsi.engines.groups.steps import factor_solve, settle
from lapsi.execution.cost import flop_rate
from lapsi.problem.of_dataset import linear_problem
from lapsi.problem.removed import CONVERGED, Removed
from lapsi.settings.settings import make_settings
from lapsi.training.newton import fit_map

LARGEST = 8  # rows of a group, more or less
CPU = torch.device("cpu")


def hard_data(n_samples: int, n_features: int, n_classes: int, n_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), labels (N,) and groups (N,) of 1 to about 8 rows."""
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(n_groups, 2.0))
    groups = np.concatenate([np.arange(n_groups), rng.choice(n_groups, n_samples - n_groups, p=share)])
    scale = np.arange(1, n_features + 1) ** -0.5
    labels = rng.permutation(np.arange(n_samples) % n_classes)
    of_class, of_group = rng.normal(size=(n_classes, n_features)), rng.normal(size=(n_groups, n_features))
    own = rng.normal(size=(n_samples, n_features))
    features = (0.35 * of_class[labels] + 0.7 * of_group[groups] + own) * scale
    features[rng.random(n_samples) < 0.02] *= 4
    drawn = rng.random(n_samples) < 0.1
    labels[drawn] = rng.integers(0, n_classes, drawn.sum())
    return features, labels, groups


def slow(fit: GroupsFit, units: list[torch.Tensor]) -> Iterator[Removed]:
    """One group after another, each by its own factorisation."""
    problem, params = fit.problem, fit.optimum.params
    for position, rows in enumerate(units):
        shift, remaining = settle(problem, params, rows[None], factor_solve(fit.optimum, rows[None]))
        outputs = problem.model.outputs(params + shift, problem.inputs[rows[None]])
        yield Removed(rows[None], np.array([position]), params, shift, outputs, CONVERGED, remaining)


def lsi_of(fit: GroupsFit, chunks: Iterator[Removed], n_units: int) -> np.ndarray:
    """LSI (n,) of what left."""
    lsi = np.full(n_units, np.nan)
    for removed in chunks:
        lsi[removed.positions] = fit.curvature.divergence(removed).total.numpy()
    return lsi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5856)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--groups", type=int, default=2790)
    parser.add_argument("--checks", type=int, default=8, help="groups that are compared with the slow way")
    parser.add_argument("--curvature", default="diag")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    arguments = parser.parse_args()

    features, labels, groups = hard_data(arguments.samples, arguments.features, arguments.classes, arguments.groups)
    dataset = make_dataset(features, labels)
    settings = make_settings(curvature=arguments.curvature, weight_decay=arguments.weight_decay, verify=0)
    units = [torch.from_numpy(np.flatnonzero(groups == group)) for group in range(arguments.groups)]
    plan = plan_groups(work_of(dataset, len(units)), [len(rows) for rows in units], settings)
    planned = groups_seconds(plan, CPU)
    problem = linear_problem(dataset, standardizer_of(dataset.survey, settings.model.standardize), settings)
    start = time.perf_counter()
    fit = groups_fit(fit_map(problem), settings)
    fitted = time.perf_counter()
    lsi = np.full(len(units), np.nan)
    largest = by_size(units)
    ordered = [units[position] for position in largest]
    for part in fit.parts(len(units)):
        lsi[largest[part.positions]] = lsi_of(fit, fit.remove(ordered, part, lambda _: None), len(part.positions))
    left = time.perf_counter()
    order = np.argsort(lsi)
    picked = np.unique(order[np.linspace(0, len(order) - 1, arguments.checks).astype(int)])
    expected = lsi_of(fit, slow(fit, [units[position] for position in picked]), len(picked))
    checked = time.perf_counter()
    rate = flop_rate(torch.float64, CPU)
    record = {
        "n_samples": arguments.samples,
        "n_features": arguments.features,
        "n_classes": arguments.classes,
        "n_groups": arguments.groups,
        "largest_group": max(len(rows) for rows in units),
        "curvature": arguments.curvature,
        "weight_decay": arguments.weight_decay,
        "by_update": plan.details["by_update"],
        "seconds_planned": planned,
        "seconds_whole": round(left - start, 2),
        "seconds_fit": round(fitted - start, 2),
        "seconds_a_group": (left - fitted) / len(units),
        "seconds_a_group_slow": (checked - left) / len(picked),
        "ratio": round((checked - left) / len(picked) / ((left - fitted) / len(units)), 1),
        "share_of_flop_rate": round((plan.cost.flop["steps"] + plan.cost.flop["curvature"]) / rate / (left - fitted), 3),
        "max_relative_difference": float(np.max(np.abs(lsi[picked] - expected) / expected)),
        "gigaflop_a_second": round(rate / 1e9, 1),
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
