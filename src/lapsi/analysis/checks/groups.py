"""Groups of samples for which the model does badly."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from lapsi.analysis.checks.base import EXAMPLES, NO_CLASSES, Answer, Check, Given, counted, number, texts, words
from lapsi.analysis.checks.datalab import audit
from lapsi.analysis.checks.scaled import scaled
from lapsi.results.columns import Column

ISSUE = "underperforming_group"
BELOW = 0.7  # of the mean probability of the given label
LEAST = 20  # samples of a group
MOST_VALUES = 50
MOST_CLUSTERS, ROWS_A_CLUSTER = 20, 50
KNOWN = ("group", "split")
NO_GROUPS = f"there are no groups of {LEAST} samples and more"


@final
class WeakGroups(Check):
    """Groups, values of columns and clusters of features whose labels the leave-one-out models find unlikely."""

    name: ClassVar[str] = "weak_groups"
    title: ClassVar[str] = "weak groups"
    question: ClassVar[str] = "Does the model fail for a group?"
    columns: ClassVar[tuple[Column, ...]] = (
        words(
            "check_weak_group",
            "weak group",
            f"the group that it belongs to whose labels have less than {BELOW:.0%} of the mean leave-one-out probability",
        ),
        number("check_weak_group_score", "group score", "the least such share of its groups; 1: none is below the mean"),
    )

    def lacks(self, given: Given) -> str:
        if not given.has_classes:
            return NO_CLASSES
        return "" if groupings(given) else NO_GROUPS

    def answer(self, given: Given) -> Answer:
        present, labels = np.unique(given.scores.label_codes, return_inverse=True)
        probabilities = np.asarray(given.scores.loo_proba)[:, present].astype(np.float64)
        lowest, weakest = np.ones(len(labels)), np.full(len(labels), None, dtype=object)
        found: dict[str, tuple[float, int]] = {}
        for name, groups in groupings(given).items():
            options = {"cluster_ids": groups.cat.codes.to_numpy(np.int64), "threshold": BELOW, "min_cluster_samples": LEAST}
            asked = audit(len(labels), {ISSUE: options}, labels=labels, pred_probs=probabilities)
            if ISSUE in asked.lost:  # it is told by the other groupings
                continue
            scores = asked.scores(ISSUE)
            called = np.array([f"{name} {value}" for value in groups.astype(object)], dtype=object)
            worse = scores < lowest
            weakest[worse & (scores < BELOW)] = called[worse & (scores < BELOW)]
            lowest = np.minimum(lowest, scores)
            for each in pd.unique(called[scores < BELOW]):
                found[each] = (float(scores[called == each][0]), int((called == each).sum()))
        n_samples = sum(value is not None for value in weakest)
        worst = sorted(found, key=lambda each: found[each])[:EXAMPLES]
        return Answer(
            {"check_weak_group": texts(list(weakest)), "check_weak_group_score": lowest},
            n_samples,
            f"{counted(len(found), 'group')}, {counted(n_samples, 'sample')}" if found else "",
            [f"{each} ({found[each][0]:.0%} of the mean, {found[each][1]:,})" for each in worst],
        )


def groupings(given: Given) -> dict[str, pd.Series]:
    """(n,) categories by the name of what groups the samples; missing where a sample is in none."""
    table = given.scores.table
    names = [*(name for name in KNOWN if name in table), *given.shown]
    found = {name: table[name].astype("category") for name in names if 2 <= table[name].nunique() <= MOST_VALUES}
    if "group" in table and table["group"].nunique() > MOST_VALUES:
        found["group"] = table["group"].astype("category")
    n_clusters = min(MOST_CLUSTERS, len(table) // ROWS_A_CLUSTER)
    if given.features is not None and n_clusters > 1:
        clusters = MiniBatchKMeans(n_clusters, n_init=3, random_state=0).fit_predict(scaled(given.features, given.is_table))
        found["cluster"] = pd.Series(clusters).astype("category")
    return {name: groups for name, groups in found.items() if (groups.value_counts() >= LEAST).any()}
