"""Accuracy on all 1,797 digits against retraining to convergence without each of them: one JSON line a structure and setting.

    python benchmarks/digits_accuracy.py [--limit N]

Every model without a sample is fitted anew (to a Newton step of 1e-10), its LSI computed with the exact curvature (`full`: in
its removal form), and compared with what `lapsi.score` reports at each level of refinement.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import lapsi
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import full_curvature
from lapsi.curvature.kron import kron_curvature
from lapsi.data.dataset import fit_standardizer
from lapsi.models.linear import linear_probe
from lapsi.problem.linear import Problem
from lapsi.problem.objective import Objective
from lapsi.training.newton import fit_map, invert, reduced_hessian

INPUTS = {"pixels / 16": (1 / 16, False), "standardized": (1.0, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1797, help="compare the first LIMIT samples only")
    n_checked = parser.parse_args().limit
    pixels, labels = load_digits(return_X_y=True)
    for name, (scale, standardize) in INPUTS.items():
        features = pixels * scale
        inputs = fit_standardizer(features, standardize).inputs(features)
        probe = linear_probe(65, 10, torch.device("cpu"))
        problem = Problem(torch.from_numpy(inputs), torch.from_numpy(labels), probe, Objective(0.01, "map", "mean"))
        fit = fit_map(problem)
        retrained = [fit_map(problem.without(index), fit.params).params - fit.params for index in range(n_checked)]
        indices, shift = torch.arange(n_checked), torch.stack(retrained)
        curvatures = {
            "diag": diag_curvature(problem, fit.params, torch.float64),
            "kfac": kron_curvature(problem, fit.params),
            "full": full_curvature(problem, fit.params, reduced_hessian(problem, fit), invert(reduced_hessian(problem, fit))),
        }
        for structure, curvature in curvatures.items():
            reference = curvature.kl_terms_exact(indices, shift).total.numpy()
            for refine in (0, 1, 2, "auto"):
                scores = lapsi.score(
                    features,
                    labels,
                    curvature=structure,
                    standardize=standardize,
                    refine=refine,
                    verify=0,
                    indices=np.arange(n_checked),
                    progress=False,
                )
                error = np.abs(scores.lsi / reference - 1)
                record = {"inputs": name, "curvature": structure, "refine": refine}
                record |= {"max": float(error.max()), "median": float(np.median(error))}
                print(json.dumps(record | {"spearman": float(spearmanr(scores.lsi, reference)[0])}), flush=True)
            if isinstance(curvature, type(curvatures["full"])):
                some = indices[:: max(1, n_checked // 64)]
                dense = curvature.kl_terms_dense(some, shift[some]).total.numpy()
                error = np.abs(reference[some] / dense - 1)
                record = {"inputs": name, "curvature": "full: removal form against exact", "samples": len(some)}
                record |= {"max": float(error.max()), "median": float(np.median(error))}
                print(json.dumps(record | {"spearman": float(spearmanr(reference[some], dense)[0])}), flush=True)


if __name__ == "__main__":
    main()
