"""Near duplicates in several parts or groups of the data."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, texts, words
from lapsi.analysis.checks.datalab import DUPLICATE
from lapsi.analysis.checks.duplicates import named, sets_of
from lapsi.results.columns import Column

CROSSED = ("split", "group")


@final
class Leaks(Check):
    """Sets of duplicates that cross `split` or `group`."""

    name: ClassVar[str] = "leaks"
    title: ClassVar[str] = "leaks"
    question: ClassVar[str] = "Do duplicates cross a split or group?"
    columns: ClassVar[tuple[Column, ...]] = (
        words("check_leak", "leak", "what its set of duplicates crosses: split, group, or both"),
    )

    def lacks(self, given: Given) -> str:
        if not _known(given):
            return "there is no column split or group with several values"
        return given.lost(DUPLICATE)

    def answer(self, given: Given) -> Answer:
        table, known = given.scores.table, _known(given)
        crossing: list[list[str]] = [[] for _ in range(len(table))]
        n_sets, examples = dict.fromkeys(known, 0), []
        sets = sets_of(given)
        for rows in sets.members:
            for name in known:
                values = table[name].iloc[rows]
                if values.nunique() > 1:
                    n_sets[name] += 1
                    inside = rows[values.notna().to_numpy()]
                    first = np.argsort(~_new(table[name].iloc[inside].tolist()), kind="stable")
                    examples.append(named(given, sets, inside[first], name))
                    for row in inside:
                        crossing[row].append(name)
        found = sum(map(bool, crossing))
        parts = ", ".join(f"{counted(count, 'set')} across {name}" for name, count in n_sets.items() if count)
        return Answer(
            {"check_leak": texts([", ".join(each) for each in crossing])},
            found,
            f"{counted(found, 'sample')}: {parts}" if found else "",
            examples[:EXAMPLES],
        )


def _known(given: Given) -> list[str]:
    table = given.scores.table
    return [name for name in CROSSED if name in table and table[name].nunique() > 1]


def _new(values: list[object]) -> np.ndarray:
    """(k,) bool: the first of each value."""
    return np.array([value not in values[:place] for place, value in enumerate(values)], dtype=bool)
