"""Many classes: engine local on real features whose labels are clusters, a share of them flipped; prints one JSON line.

    python benchmarks/many_classes.py FEATURES.npz [--classes 100] [--rows N] [--dimensions D] [--coupled 8] [--converge 0]
                                      [--tolerance 1e-3] [--checks 64] [--truth FILE.npz] [--curvature diag]

Clusters of MiniBatchKMeans (seed 0) on standardized features, 5 % of the labels drawn anew. Rows beyond those of the file are
these again with noise. With --dimensions the features are projected at random. Checked are samples spread evenly over the
ranking, and over those that --converge converges, against their converged leave-one-out optima; with --truth these are kept
in a file, and taken from there. As many coupled as there are classes: the whole inverse.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.cluster import MiniBatchKMeans

from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.standardize import standardizer_of
from lapsi.engines.base import Plan, work_of
from lapsi.engines.local.engine import local_fit
from lapsi.engines.local.plan import plan_local
from lapsi.execution.cost import GIB, Cost
from lapsi.execution.progress import Stages
from lapsi.problem.of_dataset import linear_problem
from lapsi.scoring import score_dataset
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings, make_settings

FLIPPED = 0.05
HIGHEST = 16  # checked of those that are converged
WORST = 5  # that are told one by one
NOISE = 0.1  # of their deviation, of rows beyond those of the file


def read(path: Path, n_classes: int, n_rows: int | None, n_dimensions: int | None) -> Dataset:
    """Features with the clusters they fall into as labels."""
    rng = np.random.default_rng(0)
    features = np.asarray(read_dataset(path, Columns()).features).astype(np.float32)
    n_rows = n_rows or len(features)
    if n_rows > len(features):
        again = features[np.arange(len(features), n_rows) % len(features)]
        noise = rng.standard_normal(again.shape, dtype=np.float32)
        features = np.concatenate([features, again + NOISE * features.std() * noise])
    features = features[:n_rows]
    if n_dimensions is not None:
        features = features @ rng.normal(size=(features.shape[1], n_dimensions)).astype(np.float32)
    scaled = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9)
    labels = MiniBatchKMeans(n_classes, random_state=0, n_init=3).fit_predict(scaled)
    flipped = rng.random(len(labels)) < FLIPPED
    labels[flipped] = rng.integers(n_classes, size=flipped.sum())
    return make_dataset(features, labels)


def true_lsi(dataset: Dataset, settings: Settings, rows: np.ndarray) -> np.ndarray:
    """LSI of samples `rows` at their converged leave-one-out optima."""
    problem = linear_problem(dataset, standardizer_of(dataset.survey, settings.model.standardize), settings)
    plan = Plan(Cost(0, 0, {}), {"coupled": 1, "converges": True})
    fit = local_fit(problem, settings, plan, Stages(False))
    return np.concatenate(
        [fit.curvature.divergence(removed).total.numpy() for removed in fit.reference(torch.tensor(rows)[:, None])]
    )


def checked(
    dataset: Dataset, settings: Settings, lsi: np.ndarray, n_checks: int, n_highest: int, kept: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows spread over the ranking, and over its highest, and their true LSI; those of a file where it is there."""
    rows, truth = np.empty(0, int), np.empty(0)
    if kept is not None and kept.exists():
        with np.load(kept) as arrays:
            rows, truth = arrays["rows"], arrays["lsi"]
    ranked = np.argsort(lsi)
    wanted = [] if len(rows) else [spread(ranked, n_checks)]
    wanted.append(spread(ranked[len(lsi) - n_highest :], HIGHEST))
    missing = np.setdiff1d(np.concatenate(wanted), rows)
    if len(missing):
        rows, truth = np.append(rows, missing), np.append(truth, true_lsi(dataset, settings, missing))
    if kept is not None:
        np.savez(kept, rows=rows, lsi=truth)
    return rows, truth


def spread(rows: np.ndarray, n: int) -> np.ndarray:
    """At most `n` of some rows, evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dimensions", type=int)
    parser.add_argument("--coupled", type=int, default=Local().coupled)
    parser.add_argument("--converge", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=Local().tolerance)
    parser.add_argument("--checks", type=int, default=64)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--curvature", choices=("diag", "kfac"), default="diag")
    arguments = parser.parse_args()

    dataset = read(arguments.data, arguments.classes, arguments.rows, arguments.dimensions)
    spec = Local(arguments.coupled, arguments.tolerance, arguments.converge)
    settings = make_settings(spec, arguments.curvature, weight_decay=arguments.weight_decay, standardize="each", verify=0)
    planned = plan_local(work_of(dataset, dataset.n_samples), settings).cost.peak_bytes
    start, cpu_start = time.perf_counter(), time.process_time()
    scores, _ = score_dataset(dataset, settings, np.arange(dataset.n_samples), Stages(False))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    rows, truth = checked(dataset, settings, scores.lsi, arguments.checks, arguments.converge, arguments.truth)
    errors = np.abs(scores.lsi[rows] / truth - 1)
    highest = np.isin(rows, np.argsort(-scores.lsi)[: arguments.converge])
    estimated, made = scores.table["lsi_error"].to_numpy(), scores.table["refinement"].to_numpy()
    below = np.argsort(np.argsort(scores.lsi)) / len(scores)
    order = np.argsort(-errors)

    def told(check: int) -> dict[str, object]:
        row, error = rows[check], float(errors[check])
        return {"below": round(float(below[row]), 4), "made": made[row], "error": error, "estimate": float(estimated[row])}

    record = {
        "data": arguments.data.name,
        "shape": [dataset.n_samples, dataset.n_features, dataset.n_classes],
        "coupled": arguments.coupled,
        "curvature": arguments.curvature,
        "converge": arguments.converge,
        "seconds": {name: round(value, 1) for name, value in scores.provenance.seconds.items()},
        "seconds_whole": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_gib": round(peak / GIB, 2),
        "planned_gib": round(planned / GIB, 2),
        "n_checked": len(rows),
        "n_checked_of_highest": int(highest.sum()),
        "seconds_to_check": round(time.perf_counter() - start, 1),
        "median_error": float(np.median(errors)),
        "max_error": float(errors.max()),
        "max_error_of_highest": float(errors[highest].max()) if highest.any() else None,
        "beyond_their_estimate": int((errors > estimated[rows]).sum()),
        "worst": [told(row) for row in order[:WORST]],
        "worst_of_highest": [told(row) for row in order[highest[order]][:WORST]],
        "median_estimate": float(np.median(estimated)),
        "made": scores.table["refinement"].value_counts().to_dict(),
        "n_above": scores.provenance.plan["n_above"],
        "spearman": float(spearmanr(scores.lsi[rows], truth)[0]),
        "cores": os.cpu_count(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
