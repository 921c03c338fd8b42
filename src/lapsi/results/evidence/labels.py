"""Evidence on several labels a sample, each there or not: the probability of each given state without the sample."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.targets import SEPARATOR, MultiLabelTargets, label_set, label_sets
from lapsi.results.columns import CLASSES, COLUMNS, WHOLE, Column
from lapsi.results.evidence.base import Evidence, Seen, lsi_summary, ordered_summary
from lapsi.settings import task

BERNOULLI = "bernoulli"
HALF = 0.5

_belief = partial(Column, measure=BERNOULLI, format=".3f", direction="low")
_set = partial(Column, measure=BERNOULLI)
OWN = (
    replace(COLUMNS["label"], title="labels", help=f"its labels, as given, with {SEPARATOR} between them"),
    _belief(
        "loo_probability",
        "leave-one-out probability",
        "probability of all its labels, there or not, under the model that never saw the sample",
        short="LOO probability",
    ),
    _set("loo_label", "leave-one-out labels", "labels that this model finds more likely than not", short="LOO labels"),
    replace(COLUMNS["loo_loss"], measure=BERNOULLI),
    _belief("train_probability", "training probability", "the same under the model that saw the sample"),
    _belief(
        "label_quality",
        "label quality",
        "probability of the state, there or not, of its least trusted label, in [0, 1]; low: likely wrong",
        format=".2f",
        short="quality",
    ),
    _set("doubted_label", "least trusted label", "the label with the smallest probability of the given state"),
    Column(
        "doubted_labels",
        "doubted labels",
        "labels whose given state is less likely than the other",
        BERNOULLI,
        WHOLE,
        direction="high",
        short="doubted",
    ),
    _set("suggested_label", "suggested labels", "loo_label where it differs from label, else missing", short="suggested"),
)
REPLACED = {column.name: column for column in OWN}
LEFT_OUT = ("loo_margin", "rank_in_class")
SUMMARY = {
    **{name: CLASSES[name] for name in ("samples", "lsi_median", "lsi_mean", "lsi_max", "curvature_share")},
    "loo_accuracy": replace(
        CLASSES["loo_accuracy"], help="share of all samples whose state of the label is predicted as given"
    ),
    "doubted": replace(CLASSES["doubted"], help="samples whose state of the label is less likely than the other"),
}


@final
class LabelsEvidence(Evidence[MultiLabelTargets]):
    """Several labels a sample."""

    task: ClassVar[str] = task.MULTILABEL
    summary_columns: ClassVar = SUMMARY
    summary_title: ClassVar[str] = "By label, of the samples that have it, ordered by median LSI (nats)"
    rows_are: ClassVar[str] = "labels"
    rows_by: ClassVar[str] = "label"
    wrong: ClassVar[str] = "wrong labels"
    atypical: ClassVar[str] = "atypical, hard or mislabelled"
    overlap: ClassVar[bool] = True
    shown: ClassVar[tuple[str, ...]] = ("label_quality", "doubted_label", "suggested_label")

    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        order = [name for name in COLUMNS if name not in LEFT_OUT]
        at = order.index("suggested_label")
        order[at:at] = ["doubted_label", "doubted_labels"]
        return {name: REPLACED.get(name) or COLUMNS[name] for name in order}

    def compute(self, seen: Seen[MultiLabelTargets]) -> dict[str, Any]:
        targets, names = seen.targets, seen.targets.labels
        present = targets.present > HALF
        given = _probability(np.where(present, 1, -1) * seen.outputs)
        predicted = seen.outputs > 0
        loss = np.logaddexp(0, np.where(present, -1, 1) * seen.outputs).sum(1)
        sets = label_sets(predicted, names)
        return {
            "label": targets.shown,
            "loo_probability": np.exp(-loss),
            "loo_label": sets,
            "loo_loss": loss,
            "train_probability": np.exp(-seen.train_loss).mean(0),
            "label_quality": given.min(1),
            "doubted_label": np.asarray(names).astype(str).astype(object)[given.argmin(1)],
            "doubted_labels": (given < HALF).sum(1),
            "suggested_label": pd.Series(sets, dtype="string").mask((predicted == present).all(1)),
        }

    def prediction(self, seen: Seen[MultiLabelTargets]) -> np.ndarray:
        return _probability(seen.outputs).astype(np.float32)

    def agreement(self, targets: MultiLabelTargets, outputs: np.ndarray) -> dict[str, float]:
        """Share of samples and labels whose state is predicted as given."""
        return {"train_accuracy": float(((outputs > 0) == (targets.present > HALF)).mean())}

    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        if prediction.min() < 0 or prediction.max() > 1:
            raise ValueError("the probabilities are not all from 0 to 1")

    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The labels, each of the samples that have it."""
        given = states_of(table["label"], outputs)
        return [(str(name), np.flatnonzero(given[:, k])) for k, name in enumerate(outputs)]

    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        return np.array([label_set(a) != label_set(b) for a, b in zip(table["label"], other, strict=True)], dtype=bool)

    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """Those with a label whose given state is less likely than the other."""
        less: np.ndarray = table["doubted_labels"].to_numpy() > 0
        return less

    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """A row a label."""
        given, found = states_of(table["label"], outputs), states_of(table["loo_label"], outputs)
        wrong = given != found
        rows = [self._row(str(name), table[given[:, k]], wrong[:, k]) for k, name in enumerate(outputs)]
        return ordered_summary(rows, self._row("all", table, wrong), SUMMARY)

    def _row(self, name: str, part: pd.DataFrame, wrong: np.ndarray) -> dict[str, Any]:
        return {"label": name, **lsi_summary(part), "loo_accuracy": 1 - wrong.mean(), "doubted": int(wrong.sum())}


def states_of(sets: pd.Series, labels: np.ndarray) -> np.ndarray:
    """(n, K) booleans: which labels each text with labels names."""
    position = {str(label): k for k, label in enumerate(labels)}
    which, texts = pd.factorize(sets, use_na_sentinel=False)  # the same sets come again and again
    present = np.zeros((len(texts), len(labels)), dtype=bool)
    for row, text in enumerate(texts):
        present[row, [position[name] for name in label_set(text) if name in position]] = True
    return present[which]


def _probability(logits: np.ndarray) -> np.ndarray:
    """σ(z)."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
