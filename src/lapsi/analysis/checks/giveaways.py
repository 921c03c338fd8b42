"""Single features or groups that tell the label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, cross_val_predict, train_test_split
from sklearn.tree import DecisionTreeClassifier

from lapsi.analysis.checks.base import EXAMPLES, NO_CLASSES, Answer, Check, Given, counted, texts, words
from lapsi.results.columns import Column

NEARLY = 0.98  # balanced accuracy
SCREENED = 0.05  # below it, on one third of some rows, a feature is not looked at again
ROWS = 5_000
FOLDS = 3
LEAST = 30  # samples
GROUPS = ("group", "split")


@final
class Giveaways(Check):
    """Features, columns of a table and groups that alone predict the class of samples that they were not fitted to."""

    name: ClassVar[str] = "giveaways"
    title: ClassVar[str] = "label given away"
    question: ClassVar[str] = "Does one feature or group tell the label?"
    columns: ClassVar[tuple[Column, ...]] = (
        words(
            "check_given_away",
            "label given away by",
            f"the feature or group that alone predicts its class, and those of all with {NEARLY:.0%} balanced accuracy",
        ),
    )

    def lacks(self, given: Given) -> str:
        if not given.has_classes:
            return NO_CLASSES
        if len(given.scores) < LEAST:
            return f"there are fewer than {LEAST} samples"
        return "" if _has_any(given) else given.reason or "there is no group, and no feature but those learned"

    def answer(self, given: Given) -> Answer:
        codes = given.scores.label_codes
        found = {name: predicted for name, predicted in candidates(given) if accuracy(codes, predicted) >= NEARLY}
        best = sorted(found, key=lambda name: -accuracy(codes, found[name]))
        by = np.full(len(codes), None, dtype=object)
        for name in reversed(best):
            by[found[name] == codes] = name
        return Answer(
            {"check_given_away": texts(list(by))},
            len(best),
            counted(len(best), "feature or group", "features or groups") if best else "",
            [f"{name} ({accuracy(codes, found[name]):.1%})" for name in best[:EXAMPLES]],
        )


def accuracy(codes: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of the share of its samples that are predicted right, of codes (n,)."""
    sizes = np.bincount(codes)
    return float((np.bincount(codes, codes == predicted)[sizes > 0] / sizes[sizes > 0]).mean())


def by_value(values: pd.Series, codes: np.ndarray) -> np.ndarray:
    """(n,) the most frequent class among the other samples of the same value; -1 where there is none, or no value."""
    value = pd.factorize(values)[0]
    counts = np.zeros((value.max() + 2, codes.max() + 1))
    np.add.at(counts, (value, codes), 1)
    others = counts[value]
    others[np.arange(len(codes)), codes] -= 1
    return np.where((value < 0) | (others.max(1) <= 0), -1, others.argmax(1))


def by_threshold(numbers: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
    """(n,) the class by a small decision tree on one number, fitted to other samples; None where that fails for some rows."""
    few = np.random.default_rng(0).permutation(len(codes))[:ROWS]
    tree = DecisionTreeClassifier(max_leaf_nodes=2 * (int(codes.max()) + 1), random_state=0)
    column = numbers[:, None]
    kept, tried = train_test_split(few, test_size=1 / FOLDS, random_state=0)
    if accuracy(codes[tried], tree.fit(column[kept], codes[kept]).predict(column[tried])) < NEARLY - SCREENED:
        return None
    return np.asarray(cross_val_predict(tree, column, codes, cv=KFold(FOLDS, shuffle=True, random_state=0)))


def candidates(given: Given) -> Iterator[tuple[str, np.ndarray]]:
    """Names, and the classes (n,) that each alone predicts."""
    table, codes = given.scores.table, given.scores.label_codes
    for name in (*(each for each in GROUPS if each in table), *given.shown):
        is_number = pd.api.types.is_numeric_dtype(table[name]) and name not in GROUPS
        predicted = by_threshold(table[name].to_numpy(np.float64, na_value=np.nan), codes) if is_number else None
        yield name, by_value(table[name], codes) if predicted is None else predicted
    features = given.told_apart
    if features is not None and not given.shown:
        for place in range(features.shape[1]):
            predicted = by_threshold(features[:, place], codes)
            if predicted is not None:
                yield f"feature {place}", predicted


def _has_any(given: Given) -> bool:
    return given.told_apart is not None or bool(given.shown) or any(name in given.scores.table for name in GROUPS)
