"""Whether like samples stand near each other in the order of the data."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, number, words
from lapsi.analysis.checks.datalab import ORDER
from lapsi.results.columns import Column

SHARE = 0.1
CHANCE = 0.01  # above it an order may be one
SMALLEST = 0.001  # that is told


@final
class Order(Check):
    """Datalab's test of the order by permutations, taken at 0.01."""

    name: ClassVar[str] = "order"
    title: ClassVar[str] = "order"
    question: ClassVar[str] = "Does the order of the samples tell something?"
    columns: ClassVar[tuple[Column, ...]] = (
        words(
            "check_order",
            "stands among its like",
            "where the order is no chance: whether the sample is among the tenth whose neighbours stand nearest in it",
        ),
        number("check_order_score", "order score", "Datalab's, in [0, 1]; low: its neighbours stand near it in the order"),
    )

    def lacks(self, given: Given) -> str:
        return given.lost(ORDER)

    def answer(self, given: Given) -> Answer:
        assert given.audit is not None
        scores, chance = given.audit.scores(ORDER), float(given.audit.info[ORDER]["p-value"])
        ordered, flags = chance < CHANCE, np.zeros(len(scores), bool)
        worst = np.argsort(scores, kind="stable")[: max(1, round(SHARE * len(scores)))]
        flags[worst] = ordered
        told = f"p = {chance:.2g}" if chance >= SMALLEST else f"p < {SMALLEST:g}"
        said = f"the order is no chance ({told}): {counted(len(worst), 'sample')} stand among their like most"
        return Answer(
            {"check_order": flags, "check_order_score": scores},
            int(flags.sum()),
            said if ordered else "",
            [str(given.ids[row]) for row in worst[:EXAMPLES]] if ordered else [],
        )
