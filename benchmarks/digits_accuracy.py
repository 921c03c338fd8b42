"""Accuracy of all 1,797 digits against converged leave-one-out retraining: one JSON line for each structure and setting.

python benchmarks/digits_accuracy.py

Every reported LSI is compared with the one at its converged leave-one-out optimum (`full`: in its removal form).
"""

from __future__ import annotations

import itertools
import json

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import lapsi


def main() -> None:
    features, labels = load_digits(return_X_y=True)
    inputs = {"pixels / 16": (features / 16, False), "standardized": (features, True)}
    for (name, (x, standardize)), curvature in itertools.product(inputs.items(), ("diag", "kfac", "full")):
        # every sample converged to 1e-10 is the reference: verify=N compares all of them
        reference = None
        for refine in ("auto", 3, 2, 1, 0):
            scores = lapsi.score(
                x, labels, curvature=curvature, standardize=standardize, refine=refine, verify=0, dtype="float64", progress=False
            )
            if reference is None:
                checked = lapsi.score(
                    x, labels, curvature=curvature, standardize=standardize, verify=1797 if curvature != "full" else 60, progress=False
                )
                reference = scores.lsi
                record = {"max": checked.provenance.verification["max_relative_error"], "median": checked.provenance.verification["median_relative_error"]}
                print(json.dumps({"inputs": name, "curvature": curvature, "refine": "auto", **record, "checked": len(checked.provenance.verification["rows"])}))
                continue
            error = np.abs(scores.lsi / reference - 1)
            record = {"max": error.max(), "median": float(np.median(error)), "spearman": spearmanr(scores.lsi, reference)[0]}
            print(json.dumps({"inputs": name, "curvature": curvature, "refine": refine, **record}), flush=True)


if __name__ == "__main__":
    main()
