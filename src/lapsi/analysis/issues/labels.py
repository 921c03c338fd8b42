"""Likely wrong states of labels, there or not, by the probability that a model which never saw the sample gives to each."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, final

import numpy as np
import pandas as pd

from lapsi.analysis.issues.base import Issues
from lapsi.results.columns import COLUMNS, ISSUES, Column
from lapsi.results.evidence.labels import BERNOULLI, HALF, states_of
from lapsi.results.scores import Scores
from lapsi.settings import task

STATES = np.array(["absent", "present"], dtype=object)
SHOWN = (
    COLUMNS["id"],
    Column("label", "label", "the label that is doubted", BERNOULLI),
    Column("given_state", "given state", "whether the sample has it, as given: present or absent", BERNOULLI, short="given"),
    Column(
        "suggested_state",
        "suggested state",
        "the other state, where the model that never saw the sample finds it more likely, else missing",
        BERNOULLI,
        short="suggested",
    ),
    replace(ISSUES["label_quality"], help="probability of the given state under the model that never saw the sample"),
    COLUMNS["lsi"],
)
NAMES = [column.name for column in SHOWN]


@final
class LabelIssuesOfSets(Issues):
    """A row a sample and label."""

    task: ClassVar[str] = task.MULTILABEL
    noun: ClassVar[str] = "state"
    plural: ClassVar[str] = "states of labels"
    meaning: ClassVar[str] = "a model that never saw the sample gives the state of its label a probability below"
    better: ClassVar[str] = "suggestions right, of flagged errors"

    def columns(self, outputs: np.ndarray) -> list[Column]:
        return list(SHOWN)

    def threshold(self, scores: Scores) -> float:
        """That of guessing."""
        return HALF

    def reason(self, scores: Scores) -> str:
        return "less than a blind guess"

    def rank(self, scores: Scores, threshold: float) -> pd.DataFrame:
        names, n_labels = scores.outputs.astype(str), len(scores.outputs)
        given = states_of(scores.table["label"], names)
        quality = np.where(given, scores.prediction, 1 - scores.prediction).astype(np.float64).ravel()
        order = np.argsort(quality, kind="stable")
        row, label = np.divmod(order, n_labels)
        state = given[row, label]
        beside = scores.table[["id", "lsi", *scores.carried]].iloc[row].reset_index(drop=True)
        suggested = pd.Series(STATES[(~state).astype(int)], dtype="string").mask(quality[order] >= HALF)
        ranked = beside.assign(
            label=names.astype(object)[label],
            given_state=STATES[state.astype(int)],
            suggested_state=suggested,
            label_quality=quality[order],
            flagged=quality[order] < threshold,
        )
        return ranked[[*NAMES, "flagged", *scores.carried]]

    def wrong(self, scores: Scores, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        states: np.ndarray = self._true_states(ranked, truth) != ranked["given_state"].to_numpy()
        return states

    def right(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        suggested = ranked["suggested_state"].fillna("").to_numpy(dtype=object)
        same: np.ndarray = suggested == self._true_states(ranked, truth)
        return same

    def _true_states(self, ranked: pd.DataFrame, truth: str) -> np.ndarray:
        """(n,) of the label of each row, in the labels that a second column names."""
        labels = ranked["label"].unique()
        position = pd.Index(labels).get_indexer(ranked["label"])
        held = states_of(ranked[truth].fillna(""), labels)[np.arange(len(ranked)), position]
        return STATES[held.astype(int)]
