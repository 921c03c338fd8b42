"""Accuracy on all 1,797 digits against retraining to convergence without each of them: one JSON line a structure and setting.

    python benchmarks/digits_accuracy.py [--limit N]

Every model without a sample is fitted anew (to a Newton step of 1e-10), its LSI computed with the exact curvature, and compared
with what `lapsi.score` reports at each level of refinement. The last line repeats all records.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import lapsi
from lapsi.curvature.linear import settled_curvature
from lapsi.data.blocks import ArrayBlocks, survey
from lapsi.data.standardize import standardizer_of
from lapsi.models.likelihoods.softmax import softmax
from lapsi.problem.linear import LinearProblem
from lapsi.problem.objective import Objective
from lapsi.problem.removed import CONVERGED, Removed
from lapsi.training.newton import MapFit, fit_map

INPUTS = {"pixels / 16": (1 / 16, "none"), "standardized": (1.0, "each")}
WEIGHT_DECAY = 0.01
STRUCTURES = ("diag", "kfac", "full")
REFINEMENTS: tuple[int | str, ...] = (0, 1, 2, "auto")


def retrained(features: np.ndarray, labels: np.ndarray, standardize: str, n: int) -> tuple[MapFit, Removed]:
    """The optimum of all samples, and those without each of the first n."""
    inputs = torch.from_numpy(standardizer_of(survey(ArrayBlocks(features)), standardize).inputs(features))
    likelihood = softmax(10, torch.device("cpu"))
    problem = LinearProblem(inputs, torch.from_numpy(labels), likelihood, Objective(WEIGHT_DECAY, "map", "mean"))
    fit = fit_map(problem)
    units = torch.arange(n)[:, None]
    shift = torch.stack([fit_map(problem.remove(unit), fit.params).params - fit.params for unit in units])
    outputs = torch.stack([problem.outputs(fit.params + each, unit) for unit, each in zip(units, shift, strict=True)])
    remaining = torch.zeros(n, dtype=torch.float64)
    return fit, Removed(units, np.arange(n), fit.params, shift, outputs, CONVERGED, remaining)


def agreement(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Relative errors and the rank correlation."""
    error = np.abs(values / reference - 1)
    return {"max": float(error.max()), "median": float(np.median(error)), "spearman": float(spearmanr(values, reference)[0])}


def compare(name: str, features: np.ndarray, labels: np.ndarray, standardize: str, n: int) -> Iterator[dict[str, Any]]:
    """One record a structure and level of refinement."""
    fit, removed = retrained(features, labels, standardize, n)
    options: dict[str, Any] = {"weight_decay": WEIGHT_DECAY, "standardize": standardize, "verify": 0, "progress": False}
    for structure in STRUCTURES:
        reference = settled_curvature(fit.problem, fit.params, structure).divergence(removed).total.numpy()
        for refine in REFINEMENTS:
            scores = lapsi.score(features, labels, indices=np.arange(n), curvature=structure, refine=refine, **options)
            record = {"inputs": name, "curvature": structure, "refine": refine, "rows": scores.table["refinement"].iloc[0]}
            yield {**record, **agreement(scores.lsi, reference)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1797, help="compare the first LIMIT samples only")
    limit = parser.parse_args().limit
    pixels, labels = load_digits(return_X_y=True)
    records = []
    for name, (scale, standardize) in INPUTS.items():
        for record in compare(name, pixels * scale, labels, standardize, limit):
            print(json.dumps(record), flush=True)
            records.append(record)
    print(json.dumps({"samples": limit, "records": records}))


if __name__ == "__main__":
    main()
