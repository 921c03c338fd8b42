"""Values that are missing in a table."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, number
from lapsi.analysis.checks.datalab import LeftOut
from lapsi.data.tables.encode import gaps_of
from lapsi.errors import InputError
from lapsi.results.columns import Column

NAMED = 3  # columns


@final
class Gaps(Check):
    """Missing values of the columns that features were made of, as these were read."""

    name: ClassVar[str] = "gaps"
    title: ClassVar[str] = "gaps"
    question: ClassVar[str] = "Are values missing?"
    columns: ClassVar[tuple[Column, ...]] = (
        number("check_gaps", "gaps", "share of its values that are missing in the table", format=".1%"),
    )

    def lacks(self, given: Given) -> str:
        return "" if given.shown else "the data are no table"

    def answer(self, given: Given) -> Answer:
        try:
            gaps = gaps_of(given.scores.table[given.shown], "The run")
        except InputError as error:
            raise LeftOut(str(error).rstrip(".")) from error
        missing = gaps.to_numpy().mean(1)
        found, count = int((missing > 0).sum()), gaps.sum().sort_values(ascending=False, kind="stable")
        gappy = [f"{name} {n_gaps:,}" for name, n_gaps in count.head(NAMED).items() if n_gaps > 0]
        rows = [row for row in np.argsort(-missing, kind="stable")[:EXAMPLES] if missing[row] > 0]
        return Answer(
            {"check_gaps": missing},
            found,
            f"{counted(int(count.sum()), 'gap')} in {counted(found, 'sample')}; most in {', '.join(gappy)}" if found else "",
            [f"{given.ids[row]} ({missing[row]:.0%})" for row in rows],
        )
