"""How exact scores are: the samples that are checked, and what the check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lapsi.results.provenance import Count, Real, Text


@dataclass(frozen=True, slots=True)
class Verification:
    """Relative error of LSI on the samples that were checked: |reported − reference| / reference.

    Attributes:
        rows: positions of the checked samples in the data set: that with the largest LSI, the others drawn at
            random from equal slices of the ranking.
        max_relative_error, median_relative_error: against `reference`; None where the check failed.
        reference: `"exact"` (mean and curvature at the converged leave-one-out optimum), `"removal form"`
            (`full` curvature: converged optimum, the curvature of the other samples held), or `"trained alone"` (one model
            each, by the same recipe, in float64 and without differences; the first seed).
        max_relative_error_exact: `full` only: against the exact value; None where that would cost too much.
        failure: why there is no error; "" where there is one.
    """

    rows: tuple[Count, ...]
    max_relative_error: Real | None
    median_relative_error: Real | None
    reference: Text
    max_relative_error_exact: Real | None = None
    failure: Text = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "rows": list(self.rows)}


def summarise_errors(
    positions: np.ndarray, errors: np.ndarray, reference: str, exact_errors: np.ndarray | None = None
) -> Verification:
    """What is told of relative errors (k,) at some positions (k,); an error that is no number is no agreement."""
    wrong = int((~np.isfinite(errors)).sum())
    if wrong > 0:
        return failed_check(positions, reference, f"the reference of {wrong} of {len(errors)} samples is not finite")
    beyond = None if exact_errors is None or not np.isfinite(exact_errors).all() else float(exact_errors.max())
    return Verification(tuple(positions.tolist()), float(errors.max()), float(np.median(errors)), reference, beyond)


def failed_check(positions: np.ndarray, reference: str, failure: str) -> Verification:
    """What is told where the check of some positions (k,) could not be made."""
    return Verification(tuple(positions.tolist()), None, None, reference, failure=failure)


def relative_errors(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|values − reference| / reference (n,); NaN where either is none."""
    gap = np.abs(values - reference)
    return np.divide(gap, reference, out=np.zeros_like(gap), where=gap != 0)


def draw_rows(lsi: np.ndarray, n_checks: int, seed: int) -> np.ndarray:
    """Positions (k,) to check: the largest LSI, and one at random from each of k−1 equal slices of the ranking."""
    n_checks = min(n_checks, len(lsi))
    order = np.argsort(lsi, kind="stable")
    generator = np.random.default_rng(seed)
    slices = np.array_split(order[:-1], n_checks - 1) if n_checks > 1 else []
    return np.array(sorted([order[-1], *(generator.choice(part) for part in slices)]))
