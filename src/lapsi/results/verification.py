"""How exact scores are: the samples that are checked, and what the check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lapsi.results.provenance import Count, Real, Text

FEWEST = 3  # samples of which a correlation says something
TRAINED_ON = "trained on"  # the reference of networks: training went on from the given weights, with and without each sample
WHAT_TO_DO = (
    "A step leaves from an optimum of the loss with the weight decay of the run: pass the one that the network was trained "
    "with, --weight-decay (in Python objective=lapsi.ObjectiveSpec(weight_decay=…)), which 'auto' can only guess, times the "
    "number of outputs or tokens where its loss was the mean over them, and train until it converges."
)
UNFINISHED = (
    "of them did not come to an optimum in the passes that a check may take, so that this says less than it seems: train the "
    "network until it converges, or check by a recipe (Ekfac(recipe=…))."
)
TRUSTED = 0.9  # rank correlation with it, below which a ranking is not to be trusted


@dataclass(frozen=True, slots=True)
class Verification:
    """Relative error of LSI on the samples that were checked: |reported − reference| / reference.

    Attributes:
        rows: positions of the checked samples in the data set: that with the largest LSI; half of the others are those
            suspected of the largest errors (`lsi_error`), where any is estimated; the rest is drawn at random from equal
            slices of the ranking.
        max_relative_error, median_relative_error: of all of them, against `reference`; None where the check failed.
        reference: `"exact"` (mean and curvature at the converged leave-one-out optimum), `"removal form"`
            (`full` curvature: converged optimum, the curvature of the other samples held), `"trained alone"` (one model
            each, by the same recipe, in float64 and without differences; the first seed), or `TRAINED_ON`.
        max_relative_error_exact: `full` only: against the exact value; None where that would cost too much.
        failure: why there is no error; "" where there is one.
        max_relative_error_suspected, max_relative_error_random: of those suspected, and of those drawn at random; None where
            there are none, or the check failed.
        spearman, pearson, median_ratio: of the reported values and the reference (the exact one, where there is one): their
            rank correlation, the correlation of their logarithms, and the median of reported / reference; None for fewer than
            three samples, or where the check failed.
        n_unfinished: of the samples, those whose reference ran out of passes before it was at an optimum.
    """

    rows: tuple[Count, ...]
    max_relative_error: Real | None
    median_relative_error: Real | None
    reference: Text
    max_relative_error_exact: Real | None = None
    failure: Text = ""
    max_relative_error_suspected: Real | None = None
    max_relative_error_random: Real | None = None
    spearman: Real | None = None
    pearson: Real | None = None
    median_ratio: Real | None = None
    n_unfinished: Count = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "rows": list(self.rows)}


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What is checked.

    Attributes:
        positions: (k,) in order.
        suspected, random: (k,) whether each has one of the largest estimated errors, and whether it was drawn at random;
            neither for the one with the largest LSI.
    """

    positions: np.ndarray
    suspected: np.ndarray
    random: np.ndarray


def ranking_in_words(verification: dict[str, Any]) -> str:
    """How far the ranking of a network's samples is that of really training on without them."""
    spearman, n = verification.get("spearman"), len(verification["rows"])
    if spearman is None:
        return f"Training went on without {n} samples, too few to compare their ranking."
    text = (
        f"Training went on from the given weights without {n} samples: the rank correlation of LSI with theirs is "
        f"{spearman:.2f}, the correlation of the logarithms {verification['pearson']:.2f}, the median ratio "
        f"{verification['median_ratio']:.2g}."
    )
    unfinished = verification.get("n_unfinished", 0)
    if unfinished > 0:
        text = f"{text} {unfinished} {UNFINISHED}"
    return text


def summarise_errors(drawn: Drawn, errors: np.ndarray, reference: str, exact_errors: np.ndarray | None = None) -> Verification:
    """What is told of the relative errors (k,) of what was drawn; an error that is no number is no agreement."""
    wrong = int((~np.isfinite(errors)).sum())
    if wrong > 0:
        return failed_check(drawn, reference, f"the reference of {wrong} of {len(errors)} samples is not finite")
    beyond = None if exact_errors is None or not np.isfinite(exact_errors).all() else float(exact_errors.max())
    return Verification(
        tuple(drawn.positions.tolist()),
        float(errors.max()),
        float(np.median(errors)),
        reference,
        beyond,
        max_relative_error_suspected=_largest(errors[drawn.suspected]),
        max_relative_error_random=_largest(errors[drawn.random]),
    )


def with_agreement(told: Verification, values: np.ndarray, reference: np.ndarray) -> Verification:
    """With rank correlation, correlation of the logarithms and median ratio of values (n,) > 0 and their reference (n,) > 0,
    where both are finite."""
    known = np.isfinite(values) & np.isfinite(reference)
    values, reference = values[known], reference[known]
    if told.failure or len(values) < FEWEST or not (values.min() > 0 and reference.min() > 0):
        return told
    return replace(
        told,
        spearman=_correlation(pd.Series(values).rank().to_numpy(), pd.Series(reference).rank().to_numpy()),
        pearson=_correlation(np.log(values), np.log(reference)),
        median_ratio=float(np.median(values / reference)),
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def _largest(errors: np.ndarray) -> float | None:
    return float(errors.max()) if len(errors) > 0 else None


def failed_check(drawn: Drawn, reference: str, failure: str) -> Verification:
    """What is told where the check of what was drawn could not be made."""
    return Verification(tuple(drawn.positions.tolist()), None, None, reference, failure=failure)


def relative_errors(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|values − reference| / reference (n,), 0 where both are infinite; NaN where either is none."""
    gap = np.zeros(len(values))
    np.subtract(values, reference, out=gap, where=values != reference)
    gap = np.abs(gap)
    return np.divide(gap, reference, out=np.zeros_like(gap), where=gap != 0)


def draw_rows(lsi: np.ndarray, errors: np.ndarray, n_checks: int, seed: int) -> Drawn:
    """What to check of n units of LSI `lsi` (n,) and estimated errors (n,), NaN where there is none.

    The largest LSI; half of the others, rounded up, are those with the largest estimates, none where most have no estimate; one
    at random from each equal slice of the ranking of those left fills up.
    """
    n_checks = min(n_checks, len(lsi))
    order = np.argsort(lsi, kind="stable")
    others = order[:-1]
    known = others[~np.isnan(errors[others])]
    n_suspected = n_checks // 2 if 2 * len(known) >= len(others) else 0
    suspected = known[np.argsort(-errors[known], kind="stable")][:n_suspected]
    left = others[~np.isin(others, suspected)]
    n_random = n_checks - 1 - len(suspected)
    generator = np.random.default_rng(seed)
    slices = np.array_split(left, n_random) if n_random > 0 else []
    random = [generator.choice(part) for part in slices]
    positions = np.sort(np.array([order[-1], *suspected, *random]))
    return Drawn(positions, np.isin(positions, suspected), np.isin(positions, random))
