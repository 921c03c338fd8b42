"""Samples that are the same, or nearly so."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lapsi.analysis.checks.base import EXAMPLES, Answer, Check, Given, counted, number, texts, whole, words
from lapsi.analysis.checks.datalab import DUPLICATE
from lapsi.results.columns import Column

KINDS = ("exact, labels differ", "near, labels differ", "exact", "near")  # the worst first
SHOWN = 3  # samples of a set


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Sets of samples that are near duplicates of each other.

    Attributes:
        number: (n,) of the set of a sample, from 1, the worst first; 0 for none.
        kind: (n,) position in `KINDS` of what a sample is; -1 for none.
    """

    number: np.ndarray
    kind: np.ndarray

    @property
    def members(self) -> list[np.ndarray]:
        """The samples of each set."""
        order = np.argsort(self.number, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.number))[:-1])[1:]


def equal_rows(features: np.ndarray) -> np.ndarray:
    """(n,) int64, the same for rows (n, d) that hold the same numbers."""
    digests = [hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in features]
    return np.asarray(pd.factorize(np.array(digests, dtype=object))[0], dtype=np.int64)


def duplicate_sets(near: list[np.ndarray], equal: np.ndarray, labels: np.ndarray) -> Sets:
    """Samples that are joined by near or equal ones.

    Args:
        near: of each sample (n,) those near it.
        equal: (n,) as of `equal_rows`.
        labels: (n,) text.
    """
    n = len(equal)
    order = np.argsort(equal, kind="stable")
    follows = equal[order[1:]] == equal[order[:-1]]
    rows = np.concatenate([np.repeat(np.arange(n), [len(each) for each in near]), order[:-1][follows]]).astype(np.int64)
    columns = np.concatenate([*near, order[1:][follows]]).astype(np.int64)
    component = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), (n, n)), directed=False)[1]
    codes = pd.factorize(labels)[0]
    is_equal = np.bincount(equal)[equal] > 1
    differ = np.where(is_equal, _differ(equal, codes), _differ(component, codes))
    kind = np.where(differ, np.where(is_equal, 0, 1), np.where(is_equal, 2, 3))
    kind[np.bincount(component)[component] == 1] = -1
    alone = kind < 0
    worst = pd.Series(np.where(alone, len(KINDS), kind)).groupby(component).min()
    ranked = worst[worst < len(KINDS)].sort_values(kind="stable").index
    number_of = np.zeros(component.max() + 1, np.int64)
    number_of[ranked] = np.arange(1, len(ranked) + 1)
    return Sets(number_of[component], kind)


def sets_of(given: Given) -> Sets:
    """The sets of the samples; they need features that Datalab could read."""
    assert given.audit is not None
    assert given.features is not None
    near = given.audit.info[DUPLICATE]["near_duplicate_sets"]
    return duplicate_sets(near, equal_rows(given.features), given.scores.table["label"].astype(str).to_numpy())


def named(given: Given, sets: Sets, rows: np.ndarray, by: str) -> str:
    """A set in words: its first samples, each with its value of a column; ≈ where they are not all equal."""
    table = given.scores.table
    told = [f"{given.ids[row]} ({table[by].iloc[row]})" for row in rows[:SHOWN]]
    sign = " = " if np.isin(sets.kind[rows], (0, 2)).all() else " ≈ "
    return sign.join(told) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")


def _differ(part: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the samples of the same part have several labels."""
    grouped = pd.Series(codes).groupby(part)
    return (grouped.transform("min") != grouped.transform("max")).to_numpy()


@final
class Duplicates(Check):
    """Near and exact duplicates."""

    name: ClassVar[str] = "duplicates"
    title: ClassVar[str] = "duplicates"
    question: ClassVar[str] = "Are samples there twice, or nearly?"
    columns: ClassVar[tuple[Column, ...]] = (
        words(
            "check_duplicate",
            "duplicate",
            "exact: another sample has the same features; near: much nearer than neighbours are; whether their labels differ",
        ),
        whole("check_duplicate_set", "set of duplicates", "number of the set that the sample belongs to; 0: none"),
        number("check_duplicate_score", "distance to a duplicate", "Datalab's score, in [0, 1]; 0: the same as another sample"),
    )

    def lacks(self, given: Given) -> str:
        return given.lost(DUPLICATE)

    def answer(self, given: Given) -> Answer:
        assert given.audit is not None
        sets = sets_of(given)
        members = sets.members
        n_sets, n_differ = len(members), sum(bool((sets.kind[rows] < 2).any()) for rows in members)
        n_equal = sum(bool((sets.kind[rows] == 0).any()) for rows in members)
        found = int((sets.number > 0).sum())
        said = f"{counted(found, 'sample')} in {counted(n_sets, 'set')}"
        if n_differ:
            said += f", of which labels differ in {n_differ:,} ({n_equal:,} of equal samples)"
        values = {
            "check_duplicate": texts([KINDS[kind] if kind >= 0 else None for kind in sets.kind]),
            "check_duplicate_set": sets.number,
            "check_duplicate_score": given.audit.scores(DUPLICATE),
        }
        return Answer(values, found, said if found else "", [named(given, sets, rows, "label") for rows in members[:EXAMPLES]])
