"""How well label errors are found, beside cleanlab on cross-validated probabilities; prints one JSON line.

    python benchmarks/label_errors.py DATA.npz [--flip 0.1] [--labels NAME --truth NAME] [--weight-decay 1e-3] [--folds 5]

Without --labels a share of the labels is flipped at random; with it, `NAME` holds labels that people gave and `--truth` the
true ones. cleanlab gets probabilities of the same probe (same features, standardization, weight decay) from K-fold
cross-validation. Both are timed in the same process, reading excluded.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from lapsi.analysis.label_issues import label_issues
from lapsi.data.corruption import corrupt_dataset
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.standardize import standardizer_of
from lapsi.execution.progress import Stages
from lapsi.problem.of_dataset import linear_problem
from lapsi.scoring import score_dataset
from lapsi.settings.corruption import Corruption
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map


def cross_validated(dataset: Dataset, settings: Settings, n_folds: int) -> np.ndarray:
    """Probabilities (N, C) of the linear probe fitted on the other folds."""
    probabilities = np.empty((dataset.n_samples, dataset.n_classes))
    inputs = torch.from_numpy(standardizer_of(dataset.survey, settings.model.standardize).all_inputs(dataset.features))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(inputs, dataset.labels)
    for kept, held_out in folds:
        part = make_dataset(dataset.features.read(kept), dataset.classes[dataset.labels[kept]])
        problem = linear_problem(part, standardizer_of(dataset.survey, settings.model.standardize), settings)
        fit = fit_map(problem)
        probabilities[held_out] = problem.state_of(fit.params, inputs[held_out]).numpy()
    return probabilities


def measures(wrong: np.ndarray, quality: np.ndarray, flagged: np.ndarray) -> dict[str, Any]:
    """Of a ranking by quality (low: likely wrong) and of what is flagged."""
    first = np.argsort(quality, kind="stable")[: wrong.sum()]
    return {
        "auroc": round(float(roc_auc_score(wrong, -quality)), 4),
        "average_precision": round(float(average_precision_score(wrong, -quality)), 4),
        "at_noise_rate": round(float(wrong[first].mean()), 4),
        "n_flagged": int(flagged.sum()),
        "precision": round(float(wrong[flagged].mean()), 4),
        "recall": round(float(flagged[wrong].mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--flip", type=float, default=0.1)
    parser.add_argument("--labels")
    parser.add_argument("--truth")
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--curvature", default="diag")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()

    dataset = read_dataset(arguments.data, Columns(labels=arguments.labels, reference_labels=arguments.truth))
    if arguments.labels is None:
        dataset = corrupt_dataset(dataset, Corruption(flip_labels=arguments.flip))
    settings = make_settings(weight_decay=arguments.weight_decay, standardize="each", curvature=arguments.curvature, verify=0)
    start = time.perf_counter()
    scores, _ = score_dataset(dataset, settings, np.arange(dataset.n_samples), Stages(False))
    issues = label_issues(scores)
    lapsi_seconds = time.perf_counter() - start
    start = time.perf_counter()
    probabilities = cross_validated(dataset, settings, arguments.folds)
    quality = get_label_quality_scores(dataset.labels, probabilities)
    flagged = find_label_issues(dataset.labels, probabilities)
    cleanlab_seconds = time.perf_counter() - start

    table = scores.to_pandas()
    truth = table[issues.found.truth] if issues.found else table["label"]
    wrong = (table["label"] != truth).to_numpy()
    ours = table["label_quality"].to_numpy()
    record = {
        "data": arguments.data.name,
        "labels": arguments.labels or f"{arguments.flip:.0%} flipped",
        "n_errors": int(wrong.sum()),
        "lapsi": measures(wrong, ours, ours < issues.threshold) | {"seconds": round(lapsi_seconds, 1)},
        "lsi_itself": {
            "auroc": round(float(roc_auc_score(wrong, table["lsi"])), 4),
            "average_precision": round(float(average_precision_score(wrong, table["lsi"])), 4),
        },
        "loo_proba_in_cleanlab": measures(
            wrong,
            get_label_quality_scores(scores.label_codes, scores.loo_proba),
            find_label_issues(scores.label_codes, scores.loo_proba),
        ),
        "loo_proba_by_thresholds_of_classes": measures(
            wrong, ours, find_label_issues(scores.label_codes, scores.loo_proba, filter_by="confident_learning")
        ),
        "cleanlab_cross_validated": measures(wrong, quality, flagged) | {"seconds": round(cleanlab_seconds, 1)},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
