"""A class of which there is little."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from lapsi.analysis.checks.base import NO_CLASSES, Answer, Check, Given, counted, words
from lapsi.analysis.checks.datalab import audit, required
from lapsi.results.columns import Column

ISSUE = "class_imbalance"


@final
class Imbalance(Check):
    """The rarest class, where it has less than a tenth of its even share."""

    name: ClassVar[str] = "imbalance"
    title: ClassVar[str] = "rare class"
    question: ClassVar[str] = "Is a class hardly there?"
    columns: ClassVar[tuple[Column, ...]] = (
        words("check_rare_class", "rare class", "whether its class is the rarest, with less than a tenth of an even share"),
    )

    def lacks(self, given: Given) -> str:
        return "" if given.has_classes else NO_CLASSES

    def answer(self, given: Given) -> Answer:
        _, codes = np.unique(given.scores.label_codes, return_inverse=True)
        flags = required(audit(len(codes), {ISSUE: {}}, labels=codes), ISSUE).flags(ISSUE)
        found = int(flags.sum())
        label = given.scores.table["label"][flags].iloc[0] if found else None
        said = f"class {label!s}: {counted(found, 'sample')}, {found / len(flags):.2%}" if found else ""
        return Answer({"check_rare_class": flags}, found, said, [str(name) for name in given.ids[flags][:3]])
