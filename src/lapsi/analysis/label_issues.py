"""Likely errors of targets: what leave-one-out models say against those given, and how right that is where truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from lapsi.analysis.issues.base import Issues
from lapsi.analysis.issues.choose import issues_of
from lapsi.errors import InputError
from lapsi.results.columns import Column
from lapsi.results.notebook import Part, html_page, text_page
from lapsi.results.scores import Scores
from lapsi.settings.option import Number

FIRST = 5  # of the ranking, in a notebook
NEXT = "All of them, ranked: .table"
TRUTHS = ("original_label", "reference_label")


@dataclass(frozen=True, slots=True)
class Found:
    """How well errors are found, where the truth is known.

    Attributes:
        truth: the column that was taken for it.
        n_errors: targets that differ from it (numbers by more than rounding); samples without a true target do not count.
        auroc, average_precision: of the ranking by label quality.
        at_noise_rate: share of errors among the `n_errors` targets ranked first: precision and recall at once.
        precision, recall: of the flagged targets; precision is NaN where none is flagged.
        suggestions_right: share of the flagged errors whose suggestion is the true target (of numbers: nearer to it than the
            given one); NaN where there are none.
    """

    truth: str
    n_errors: int
    auroc: float
    average_precision: float
    at_noise_rate: float
    precision: float
    recall: float
    suggestions_right: float


@dataclass(frozen=True, slots=True, eq=False)
class LabelIssues:
    """Targets ranked from the least to the most trusted.

    Attributes:
        table: one row a sample: id, label, suggested_label (missing where the leave-one-out model agrees), label_quality,
            suggested_probability, lsi, flagged, and what the source knows of the sample. Of numbers: loo_label, loo_deviation,
            and as suggested_label the leave-one-out prediction where the target is flagged. With several labels a sample: one
            row a sample and label, with given_state and suggested_state (missing where the model agrees).
        threshold: targets of lower quality are flagged.
        found: how right that is, where the truth is known; else None.
        kind: how all this is told.
        columns: what those of the table mean, beside `flagged` and what travelled along.
        reason: what the threshold is, in words.
        cautions: where the scores cannot mean much, a sentence each; empty where nothing was found.
    """

    table: pd.DataFrame
    threshold: float
    found: Found | None
    kind: Issues
    columns: list[Column]
    reason: str
    cautions: list[str]

    def __repr__(self) -> str:
        """How many are doubtful, and the first; `table` has them all."""
        return text_page(self.sentence, self.cautions, [self._first], NEXT)

    def _repr_html_(self) -> str:
        return html_page(self.sentence, self.cautions, [self._first], NEXT)

    @property
    def n_flagged(self) -> int:
        """How many targets are flagged."""
        return int(self.table["flagged"].sum())

    @property
    def title(self) -> str:
        """Of the ranking."""
        return f"Most likely {self.kind.noun} errors"

    @property
    def counted(self) -> str:
        """How many are flagged, in words."""
        return f"{self.n_flagged:,} of {len(self.table):,} {self.kind.plural} are doubtful"

    @property
    def why(self) -> str:
        """By what, in words."""
        return f"{self.kind.meaning} {self.threshold:.3g} ({self.reason})."

    @property
    def sentence(self) -> str:
        """How many are flagged, and by what."""
        return f"{self.counted}: {self.why}"

    @property
    def _first(self) -> Part:
        return self.title, self.table.head(FIRST), self.columns


def label_issues(scores: Scores, threshold: float | None = None) -> LabelIssues:
    """Ranks the targets by what a model which never saw the sample says of them.

    Args:
        scores: of the samples.
        threshold: flag targets of lower quality, in [0, 1]. None: for classes 1/C, the probability of guessing (of two
            classes 1/3: the other is twice as likely), as the model trained on all other samples finds; for labels 1/2;
            for numbers 0.0027: a target is flagged beyond three standard deviations.

    Raises:
        InputError: when the threshold is no probability.
    """
    kind = issues_of(scores)
    usual = kind.threshold(scores)
    threshold = usual if threshold is None else threshold
    Number(0).check("threshold", threshold)
    threshold = float(threshold)
    if threshold > 1:
        raise InputError(f"threshold is {threshold}; expected a probability from 0 to 1.")
    ranked = kind.rank(scores, threshold)
    reason = kind.reason(scores) if threshold == usual else "the threshold that was asked for"
    found, columns = _found(scores, kind, ranked), kind.columns(scores.outputs)
    return LabelIssues(ranked, threshold, found, kind, columns, reason, scores.cautions)


def _found(scores: Scores, kind: Issues, ranked: pd.DataFrame) -> Found | None:
    truth = next((name for name in TRUTHS if name in ranked), None)
    if truth is None:
        return None
    ranked = ranked[ranked[truth].notna()]
    wrong = kind.wrong(scores, ranked, truth)
    n_errors = int(wrong.sum())
    if n_errors in (0, len(wrong)):
        return None
    distrust = -ranked["label_quality"].to_numpy()
    flagged = ranked["flagged"].to_numpy()
    hit = flagged & wrong
    return Found(
        truth=truth,
        n_errors=n_errors,
        auroc=float(roc_auc_score(wrong, distrust)),
        average_precision=float(average_precision_score(wrong, distrust)),
        at_noise_rate=float(wrong[:n_errors].mean()),
        precision=_share(hit.sum(), flagged.sum()),
        recall=_share(hit.sum(), n_errors),
        suggestions_right=_share(kind.right(ranked, truth)[hit].sum(), hit.sum()),
    )


def disagreement(scores: Scores, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a column of second targets holds one (n,), and where that differs from the given one (n,)."""
    known = scores.table[column].notna().to_numpy()
    return known, known & scores.evidence.differs(scores.table, scores.table[column])


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
