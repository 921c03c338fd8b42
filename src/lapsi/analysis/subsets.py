"""Subsets to train on, stratified: each class gives the same share of its own ranking (paper, section 4.3).

Of numbers each quarter of the (first) target does. With several labels a sample there are no strata: a sample would be in
several, and those with the very same labels are too few to have a ranking of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.option import Choice, Number
from lapsi.settings.subset import STRATEGIES

ROUNDING = 1e-9


def _middle(n: int, k: int) -> np.ndarray:
    start = (n - k) // 2
    return np.arange(start, start + k)


def _spread(n: int, k: int) -> np.ndarray:
    return np.floor((np.arange(k) + 0.5) * n / k).astype(np.int64)


# places in the ranking of a class of n samples, the least informative first, of which k are chosen (dropped)
RULES: tuple[Callable[[int, int], np.ndarray], ...] = (
    lambda n, k: np.arange(k),
    _middle,
    lambda n, k: np.arange(n - k, n),
    lambda n, k: np.arange(k, n),
    lambda n, k: np.arange(n - k),
    _spread,
)
PLACES = dict(zip(STRATEGIES, RULES, strict=True))


def select_subset(scores: Scores, strategy: str, fraction: float) -> np.ndarray:
    """Positions in the table of a subset, ascending.

    Args:
        scores: of n samples.
        strategy: `"low"`, `"mid"`, `"high"`: that part of each stratum's ranking by LSI. `"drop-lowest"`, `"drop-highest"`: all
            but that part. `"balanced"`: the same number from each stratum, spread evenly over its ranking.
        fraction: of each stratum to take (to drop), above 0 and below 1; with `"balanced"` of all samples.

    Raises:
        InputError: for another strategy or fraction, or when nothing would be left.
    """
    Choice(STRATEGIES).check("strategy", strategy)
    Number(0, 1, beyond=True).check("fraction", fraction)
    fraction = float(fraction)
    table = scores.table
    place = np.empty(len(table), dtype=np.int64)
    place[table["lsi"].to_numpy().argsort(kind="stable")] = np.arange(len(table))
    members = [rows[np.argsort(place[rows])] for rows in _strata(scores) if len(rows)]
    if strategy == "balanced":
        wanted = _share(fraction, len(table)) // len(members)
        sizes = [min(wanted, len(rows)) for rows in members]
    else:
        sizes = [_share(fraction, len(rows)) for rows in members]
    parts = zip(members, sizes, strict=True)
    chosen = np.sort(np.concatenate([rows[PLACES[strategy](len(rows), size)] for rows, size in parts]))
    if len(chosen) == len(table) and strategy.startswith("drop"):
        raise InputError(f"{fraction:g} of each stratum is below one sample in all {len(members)} of them; drop more.")
    if len(chosen) == 0:
        parts_are = "part" if scores.evidence.overlap else scores.evidence.rows_are
        share = f"{fraction:g} of {len(table)} samples in {len(members)} {parts_are}"
        raise InputError(f"{share} is below one of each; take more.")
    return chosen


def _strata(scores: Scores) -> list[np.ndarray]:
    """Positions of the samples of each."""
    evidence = scores.evidence
    return [np.arange(len(scores))] if evidence.overlap else [rows for _, rows in evidence.parts(scores.table, scores.outputs)]


def _share(fraction: float, n: int) -> int:
    """Rounded down, so that three thirds never overlap; 0.29 of 100 is 29."""
    return int(fraction * n + ROUNDING)
