"""How well planted duplicates and outliers are found; prints one JSON line.

    python benchmarks/check.py [--planted 20] [--noise 0.1] [--seed 0]

The handwritten digits are the part `train`. Of as many of them as asked for a copy stands in the part `test`, a share of its
pixels moved by one of 16 steps (those of a quarter of the copies not at all); as many outliers are digits whose pixels are
shuffled. Precision and recall are of the samples that `lapsi check` finds: of both ends of a planted pair; of the outliers also
of the first by score, as many as were planted, since digits of their own may lie apart.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sklearn.datasets import load_digits

import lapsi

STEPS = 16  # of a pixel


def planted(n_planted: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and labels of digits, copies and outliers in this order; the part of each; which are pairs, and outliers."""
    features, labels = load_digits(return_X_y=True)
    rng, n = np.random.default_rng(seed), len(features)
    chosen = rng.choice(n, n_planted, replace=False)
    moved = np.where(rng.random((n_planted, features.shape[1])) < noise, rng.choice([-1, 1], (n_planted, features.shape[1])), 0)
    moved[: n_planted // 4] = 0
    copies = np.clip(features[chosen] + moved, 0, STEPS)
    shuffled = rng.permuted(features[rng.choice(n, n_planted, replace=False)], axis=1)
    whole = np.concatenate([features, copies, shuffled])
    targets = np.concatenate([labels, labels[chosen], rng.choice(labels, n_planted)])
    rows = np.arange(len(whole))
    part = np.where((rows >= n) & (rows < n + n_planted), "test", "train")
    return whole, targets, part, np.isin(rows, chosen) | (part == "test"), rows >= n + n_planted


def figures(found: np.ndarray, truth: np.ndarray) -> dict[str, float | int | None]:
    """Precision and recall of what was found (n,); no precision where nothing was."""
    hit = int((found & truth).sum())
    return {
        "found": int(found.sum()),
        "precision": round(hit / int(found.sum()), 4) if found.any() else None,
        "recall": round(hit / int(truth.sum()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    features, labels, part, is_pair, is_outlier = planted(arguments.planted, arguments.noise, arguments.seed)
    scores = lapsi.score(features, labels, columns={"split": part}, weight_decay=0.01, verify=0, progress=False)
    start = time.perf_counter()
    table = lapsi.check(scores, features, labels, progress=False).table
    seconds = time.perf_counter() - start
    first = np.zeros(len(table), bool)
    first[np.argsort(table["check_outlier_score"].to_numpy(), kind="stable")[: arguments.planted]] = True
    record = {
        "data": "digits",
        "n_samples": len(table),
        "n_planted": arguments.planted,
        "noise": arguments.noise,
        "seed": arguments.seed,
        "duplicates": figures(table["check_duplicate"].notna().to_numpy(), is_pair),
        "leaks": figures(table["check_leak"].notna().to_numpy(), is_pair),
        "outliers": figures(table["check_outlier"].to_numpy(), is_outlier),
        "outliers_first": figures(first, is_outlier),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
