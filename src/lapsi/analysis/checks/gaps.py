"""Values that are missing in a table."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, number
from lapsi.analysis.checks.datalab import audit, required
from lapsi.results.columns import Column

ISSUE = "null"
NAMED = 3  # columns


@final
class Gaps(Check):
    """Missing values of the columns that features were made of."""

    name: ClassVar[str] = "gaps"
    title: ClassVar[str] = "gaps"
    question: ClassVar[str] = "Are values missing?"
    columns: ClassVar[tuple[Column, ...]] = (
        number("check_gaps", "gaps", "share of its values that are missing in the table", format=".1%"),
    )

    def lacks(self, given: Given) -> str:
        return "" if given.shown else "the data are no table"

    def answer(self, given: Given) -> Answer:
        asked = required(audit(len(given.scores), {ISSUE: {}}, features=given.scores.table[given.shown].astype(object)), ISSUE)
        missing = 1 - asked.scores(ISSUE)
        impact = np.asarray(asked.info[ISSUE]["column_impact"])
        found, worst = int((missing > 0).sum()), np.argsort(-impact, kind="stable")
        gappy = [f"{given.shown[place]} {impact[place]:.1%}" for place in worst[:NAMED] if impact[place] > 0]
        rows = [row for row in np.argsort(-missing, kind="stable")[:EXAMPLES] if missing[row] > 0]
        return Answer(
            {"check_gaps": missing},
            found,
            f"{counted(found, 'sample')}; most in {', '.join(gappy)}" if found else "",
            [f"{given.ids[row]} ({missing[row]:.0%})" for row in rows],
        )
