"""Samples that lie far from all others."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, number, words
from lapsi.analysis.checks.datalab import OUTLIER
from lapsi.results.columns import Column


@final
class Outliers(Check):
    """Outliers by the distance to their neighbours."""

    name: ClassVar[str] = "outliers"
    title: ClassVar[str] = "outliers"
    question: ClassVar[str] = "Are samples unlike all others?"
    columns: ClassVar[tuple[Column, ...]] = (
        words("check_outlier", "outlier", "whether its nearest neighbours are unusually far away"),
        number("check_outlier_score", "outlier score", "Datalab's, in [0, 1]; low: far from all others"),
    )

    def lacks(self, given: Given) -> str:
        return given.lost(OUTLIER)

    def answer(self, given: Given) -> Answer:
        assert given.audit is not None
        flags, scores = given.audit.flags(OUTLIER), given.audit.scores(OUTLIER)
        found = int(flags.sum())
        worst = np.argsort(scores, kind="stable")[: min(EXAMPLES, found)]
        return Answer(
            {"check_outlier": flags, "check_outlier_score": scores},
            found,
            counted(found, "sample") if found else "",
            [f"{given.ids[row]} ({scores[row]:.2f})" for row in worst],
        )
