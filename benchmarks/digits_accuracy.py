"""Accuracy on all 1,797 digits against retraining to convergence without each of them: one JSON line a structure and setting.

    python benchmarks/digits_accuracy.py [--limit N]

Every model without a sample is fitted anew (to a Newton step of 1e-10), its LSI computed with the exact curvature (`full`: in
its removal form), and compared with what `lapsi.score` reports at each level of refinement. The last line holds all of them.
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
from torch import Tensor

import lapsi
from lapsi.curvature.base import Curvature
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import FullCurvature, full_curvature
from lapsi.curvature.kron import kron_curvature
from lapsi.data.dataset import fit_standardizer
from lapsi.models.linear import linear_probe
from lapsi.problem.linear import Problem
from lapsi.problem.objective import Objective
from lapsi.training.newton import fit_map, invert, reduced_hessian

INPUTS = {"pixels / 16": (1 / 16, False), "standardized": (1.0, True)}
REFINEMENTS: tuple[int | str, ...] = (0, 1, 2, "auto")


def retrained(features: np.ndarray, labels: np.ndarray, standardize: bool, n: int) -> tuple[dict[str, Curvature], Tensor]:
    """The posterior of all samples in each structure, and how the optimum moves without each of the first n (n, C−1, D)."""
    inputs = fit_standardizer(features, standardize).inputs(features)
    probe = linear_probe(inputs.shape[1], 10, torch.device("cpu"))
    problem = Problem(torch.from_numpy(inputs), torch.from_numpy(labels), probe, Objective(0.01, "map", "mean"))
    fit = fit_map(problem)
    shifts = [fit_map(problem.without(index), fit.params).params - fit.params for index in torch.arange(n).split(1)]
    hessian = reduced_hessian(problem, fit)
    curvatures: dict[str, Curvature] = {
        "diag": diag_curvature(problem, fit.params, torch.float64),
        "kfac": kron_curvature(problem, fit.params),
        "full": full_curvature(problem, fit.params, hessian, invert(hessian)),
    }
    return curvatures, torch.stack(shifts)


def agreement(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Relative errors and the rank correlation."""
    error = np.abs(values / reference - 1)
    return {"max": float(error.max()), "median": float(np.median(error)), "spearman": float(spearmanr(values, reference)[0])}


def compare(name: str, features: np.ndarray, labels: np.ndarray, standardize: bool, n: int) -> Iterator[dict[str, Any]]:
    """One record a structure and level of refinement, and for `full` one more: its removal form against the exact value."""
    curvatures, shift = retrained(features, labels, standardize, n)
    indices = torch.arange(n)
    options: dict[str, Any] = {"standardize": standardize, "indices": indices.numpy(), "verify": 0, "progress": False}
    for structure, curvature in curvatures.items():
        reference = curvature.kl_terms_exact(indices, shift).total.numpy()
        for refine in REFINEMENTS:
            lsi = lapsi.score(features, labels, curvature=structure, refine=refine, **options).lsi
            yield {"inputs": name, "curvature": structure, "refine": refine, **agreement(lsi, reference)}
        if isinstance(curvature, FullCurvature):
            some = indices[:: max(1, n // 64)]
            dense = curvature.kl_terms_dense(some, shift[some]).total.numpy()
            record = {"inputs": name, "curvature": "full: removal form against exact", "samples": len(some)}
            yield {**record, **agreement(reference[some], dense)}


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
