"""cleanlab's Datalab, asked without a word on the terminal (Cleanlab 2023; issue types and thresholds are its own)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lapsi.errors import InputError, first_line

DUPLICATE, OUTLIER, ORDER = "near_duplicate", "outlier", "non_iid"
NEIGHBOURS = 10
FAILED = re.compile(r"^Error in (\w+): ?(.*)$", re.MULTILINE)


class LeftOut(Exception):
    """Datalab could not tell; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What Datalab found.

    Attributes:
        issues: (n rows) `is_…_issue` and `…_score` (low: worse) of each issue.
        info: of each issue, more.
        lost: why an issue could not be looked for.
    """

    issues: pd.DataFrame
    info: dict[str, dict[str, Any]]
    lost: dict[str, str]

    def flags(self, issue: str) -> np.ndarray:
        """(n,) bool: the samples that have an issue."""
        return self.issues[f"is_{issue}_issue"].to_numpy(bool)

    def scores(self, issue: str) -> np.ndarray:
        """(n,) in [0, 1], low: worse."""
        return self.issues[f"{issue}_score"].to_numpy(np.float64)


def require_datalab() -> Any:
    """The class `Datalab`.

    Raises:
        InputError: when it is not installed.
    """
    try:
        from cleanlab.datalab.datalab import Datalab
    except ImportError as error:
        raise InputError(f"These checks need the extra 'check' ({first_line(error)}): pip install 'lapsi[check]'.") from error
    return Datalab


def audit(n_samples: int, issues: Mapping[str, Mapping[str, Any]], *, labels: np.ndarray | None = None, **inputs: Any) -> Audit:
    """What Datalab says of some issues.

    Args:
        n_samples: n.
        issues: of which types, with their options.
        labels: (n,) int64, classes from 0 on of which each has a sample; None: issues that need none.
        inputs: `features` (n, d), `pred_probs` (n, C), as `Datalab.find_issues` takes them.
    """
    datalab, said = require_datalab(), io.StringIO()
    named = {} if labels is None else {"label_name": "label"}
    state = np.random.get_state()  # noqa: NPY002  (Datalab seeds the global generator)
    try:
        with redirect_stdout(said), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lab = datalab({"label": np.arange(n_samples) if labels is None else labels}, verbosity=0, **named)
            lab.find_issues(issue_types={name: dict(options) for name, options in issues.items()}, **inputs)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    lost = {name: f"cleanlab: {why.rstrip('.')}" for name, why in FAILED.findall(said.getvalue())}
    told = [name for name in issues if name not in lost and f"{name}_score" in lab.issues]
    lost |= {name: "cleanlab gave no answer" for name in issues if name not in told and name not in lost}
    return Audit(lab.issues, {name: lab.get_info(name) for name in told}, lost)


def required(asked: Audit, issue: str) -> Audit:
    """The same, where it tells of an issue.

    Raises:
        LeftOut: when it does not.
    """
    if issue in asked.lost:
        raise LeftOut(asked.lost[issue])
    return asked


def of_features(features: np.ndarray, metric: str | None = None) -> Audit:
    """Near duplicates, outliers and order of features (n, d), by the nearest neighbours of each sample.

    `metric`: of distances; None: Datalab's own choice, the cosine of more than 3 features.
    """
    neighbours = {"k": min(NEIGHBOURS, len(features) - 1), "metric": metric}
    return audit(
        len(features), {DUPLICATE: neighbours, OUTLIER: neighbours, ORDER: {**neighbours, "seed": 0}}, features=features
    )
