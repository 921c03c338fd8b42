"""What is kept of many values: how they are distributed, and how far two orders agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from experiments.base import number

FEW = 500
QUANTILES = (5, 25, 50, 75, 95)
MOST_POINTS = 1500

WEAK = 0.4  # the largest size of a weak rank correlation


def described(values: np.ndarray) -> dict[str, Any]:
    """Number, mean, quantiles in percent, and a histogram over powers of ten of positive values (n,)."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return {
            "n": 0,
            "mean": np.nan,
            **{f"q{percent}": np.nan for percent in QUANTILES},
            "edges": [1, 10],
            "percent_a_decade": [0],
        }
    positive = values[values > 0]
    by_decade = 10 if len(values) >= FEW else 5
    edges, counts = np.array([]), np.array([])
    if len(positive):
        low, high = np.floor(np.log10(positive.min()) * by_decade), np.floor(np.log10(positive.max()) * by_decade) + 1
        edges = 10 ** (np.arange(low, high + 1) / by_decade)
        counts = np.histogram(np.log10(positive), np.log10(edges))[0]
    return {
        "n": len(values),
        "mean": float(values.mean()),
        **{f"q{percent}": float(np.percentile(values, percent)) for percent in QUANTILES},
        "edges": edges,
        "percent_a_decade": 100 * counts * by_decade / max(1, len(values)),
    }


def median_ratio(first: dict[str, Any], second: dict[str, Any]) -> float:
    """How many times the median of one is that of the other, of what `described` gave."""
    over, under = number(first["q50"]), number(second["q50"])
    return over / under if under else math.nan


def auroc(positive: np.ndarray, values: np.ndarray) -> float:
    """Area under the ROC curve of ranking by values (n,); NaN where all samples are of one kind."""
    return float(roc_auc_score(positive, values)) if 0 < positive.sum() < len(positive) else math.nan


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; NaN where one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second)[0])


def skewness(values: np.ndarray) -> float:
    """Of values (n,): 0 for a symmetric distribution, above for one with a long upper tail."""
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def points(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Pairs of values to draw, at most some of many, spread evenly over the order of the samples."""
    rows = np.unique(np.linspace(0, len(first) - 1, min(len(first), MOST_POINTS)).astype(np.int64))
    return {"x": np.asarray(first)[rows].astype(np.float64), "y": np.asarray(second)[rows].astype(np.float64)}
