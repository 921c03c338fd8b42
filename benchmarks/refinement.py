"""What is missing of scores by default, for every row, where the closed form has it hard: against all of them converged.

    python benchmarks/refinement.py hard|heavy [--samples N] [--features D] [--classes C] [--weight-decay W] [--seed 0]

`hard`: classes whose means are close, 5 % of the labels drawn anew. `heavy`: the same, and 5 % of the rows times a draw from
Student's t with 1.5 degrees of freedom. Rows are converged to 1e-10 in float64, and
fitted anew where chord steps do not contract.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from lapsi.curvature.linear import settled_curvature
from lapsi.data.dataset import make_dataset
from lapsi.data.standardize import standardizer_of
from lapsi.engines.newton.steps import DenseStep
from lapsi.engines.removal.streams import converged
from lapsi.execution.progress import Stages
from lapsi.problem.of_dataset import linear_problem
from lapsi.scoring import score_dataset
from lapsi.settings.settings import make_settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

DEFAULTS = {"hard": (5856, 512, 3), "heavy": (10_000, 20, 10)}
ROWS = 128
TOLERANCE = 1e-10


def make_data(kind: str, shape: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, d) and labels (N,)."""
    n_samples, n_features, n_classes = shape
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n_samples)
    means = 2 * rng.normal(size=(n_classes, n_features)) / np.sqrt(n_features)
    features = rng.normal(size=(n_samples, n_features)) + means[labels]
    labels = np.where(rng.random(n_samples) < 0.05, rng.integers(n_classes, size=n_samples), labels)
    if kind == "heavy":
        rows = rng.random(n_samples) < 0.05
        features[rows] *= rng.standard_t(1.5, size=(rows.sum(), 1))
    return features, labels


def true_lsi(features: np.ndarray, labels: np.ndarray, weight_decay: float) -> np.ndarray:
    """LSI (N,) of every row from its own converged leave-one-out optimum."""
    dataset, settings = make_dataset(features, labels), make_settings(weight_decay=weight_decay, standardize="each")
    problem = linear_problem(dataset, standardizer_of(dataset.survey, settings.model.standardize), settings)
    fit = fit_map(problem)
    optimum = DenseStep(problem, fit.params, invert(reduced_hessian(fit)))
    curvature = settled_curvature(problem, fit.params, settings.curvature)
    found = converged(optimum, torch.arange(len(labels)), np.arange(len(labels)), TOLERANCE)
    return np.concatenate([curvature.divergence(removed).total.numpy() for removed in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(DEFAULTS))
    for name in ("samples", "features", "classes"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    given = (arguments.samples, arguments.features, arguments.classes)
    shape = [own or default for own, default in zip(given, DEFAULTS[arguments.kind], strict=True)]
    features, labels = make_data(arguments.kind, shape, arguments.seed)
    settings = make_settings(weight_decay=arguments.weight_decay, standardize="each", tolerance=arguments.tolerance)
    start, started = time.perf_counter(), time.process_time()
    scores, _ = score_dataset(make_dataset(features, labels), settings, np.arange(len(labels)), Stages(show=False))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - started
    start = time.perf_counter()
    errors = np.abs(scores.lsi / true_lsi(features, labels, arguments.weight_decay) - 1)
    estimates = scores.table["lsi_error"].to_numpy()
    marked = estimates > arguments.tolerance
    verification = scores.provenance.verification or {}
    ratios = errors / estimates
    record = {
        "data": arguments.kind,
        "shape": shape,
        "weight_decay": arguments.weight_decay,
        "seconds": {name: round(value, 2) for name, value in scores.provenance.seconds.items()},
        "seconds_whole": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "seconds_to_converge_all": round(time.perf_counter() - start, 2),
        "refinement": scores.table["refinement"].value_counts().to_dict(),
        "max_error": float(errors.max()),
        "median_error": float(np.median(errors)),
        "marked_above": int(marked.sum()),
        "max_error_of_unmarked": float(errors[~marked].max()) if not marked.all() else None,
        "share_beyond_estimate": float((ratios > 1).mean()),
        "largest_ratio_to_estimate": float(ratios.max()),
        "verification": {name: value for name, value in verification.items() if name.startswith("max_")},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
