"""Classes that are taken for each other."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import pandas as pd

from lapsi.analysis.checks.base import EXAMPLES, NO_CLASSES, Answer, Check, Given, counted, texts, words
from lapsi.results.columns import Column

LEAST, SHARE = 3, 0.02
BETWEEN = " / "


@final
class Confusions(Check):
    """Pairs of classes by leave-one-out predictions."""

    name: ClassVar[str] = "confusions"
    title: ClassVar[str] = "confused classes"
    question: ClassVar[str] = "Which classes are taken for each other?"
    columns: ClassVar[tuple[Column, ...]] = (
        words(
            "check_confused",
            "confused classes",
            "the pair of its label and its leave-one-out label, where these differ and the pair holds at least "
            f"{LEAST} such samples and {SHARE:.0%} of both classes",
        ),
    )

    def lacks(self, given: Given) -> str:
        return "" if given.has_classes else NO_CLASSES

    def answer(self, given: Given) -> Answer:
        labels, predicted = (given.scores.table[name].astype(str).to_numpy() for name in ("label", "loo_label"))
        pair = pairs_of(labels, predicted, given.scores.classes.astype(str).tolist())
        rates = confusions(labels, predicted, pair)
        kept = np.isin(pair, rates.index) & (labels != predicted)
        quality = given.scores.table["label_quality"].to_numpy()
        examples = []
        for name in rates.index[:EXAMPLES]:
            rows = np.flatnonzero(kept & (pair == name))
            worst = rows[np.argsort(quality[rows], kind="stable")][:2]
            told = ", ".join(f"{given.ids[row]}" for row in worst)
            examples.append(f"{name}: {rates['count'][name]:,}, {rates['share'][name]:.1%} ({told})")
        found = int(kept.sum())
        return Answer(
            {"check_confused": texts([name if inside else None for name, inside in zip(pair, kept, strict=True)])},
            found,
            f"{counted(len(rates), 'pair')}, {counted(found, 'sample')}" if found else "",
            examples,
        )


def pairs_of(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> np.ndarray:
    """(n,) the classes of label and prediction, in the order of the classes, as one text."""
    place = {name: number for number, name in enumerate(classes)}
    both = (sorted(each, key=place.__getitem__) for each in zip(labels, predicted, strict=True))
    return np.array([BETWEEN.join(each) for each in both], dtype=object)


def confusions(labels: np.ndarray, predicted: np.ndarray, pair: np.ndarray) -> pd.DataFrame:
    """Pairs of classes (the index) that are taken for each other, those of the largest share first.

    Columns: `count`, samples of the one that are predicted as the other, both ways; `share` of all samples of both.
    """
    sizes, wrong = pd.Series(labels).value_counts(), labels != predicted
    ends = pd.DataFrame({"pair": pair, "label": labels, "predicted": predicted})[wrong]
    first = ends.groupby("pair").first()
    count = ends["pair"].value_counts().reindex(first.index)
    of_both = sizes.reindex(first["label"]).fillna(0).to_numpy() + sizes.reindex(first["predicted"]).fillna(0).to_numpy()
    table = pd.DataFrame({"count": count, "share": count / of_both})
    return table[(table["count"] >= LEAST) & (table["share"] >= SHARE)].sort_values("share", ascending=False, kind="stable")
