"""Evidence on classes: the probability of the given label without the sample."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.targets import ClassTargets
from lapsi.results.columns import CLASSES, COLUMNS, Column
from lapsi.results.evidence.base import Evidence, Seen, lsi_summary, ordered_summary
from lapsi.settings import task

ROUNDING = 1e-3
BLOCK_ROWS = 2**16
FEWEST_CLASSES = 3  # that a label is doubted as one of


@final
class ClassEvidence(Evidence[ClassTargets]):
    """One class a sample."""

    task: ClassVar[str] = task.CLASSES
    summary_columns: ClassVar = CLASSES
    summary_title: ClassVar[str] = "By class, ordered by median LSI (nats)"
    rows_are: ClassVar[str] = "classes"
    rows_by: ClassVar[str] = "label"
    wrong: ClassVar[str] = "a wrong label"
    atypical: ClassVar[str] = "atypical, hard or mislabelled"
    overlap: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ("loo_probability", "label_quality", "suggested_label")

    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        return COLUMNS

    def compute(self, seen: Seen[ClassTargets]) -> dict[str, Any]:
        labels, classes = seen.targets.codes, seen.targets.classes
        own = np.arange(len(labels))
        given = np.exp(seen.outputs[own, labels])
        predicted = seen.outputs.argmax(1)
        return {
            "label": classes[labels],
            "loo_probability": given,
            "loo_label": classes[predicted],
            "loo_margin": given - np.exp(_largest_other(seen.outputs, labels)),
            "loo_loss": -seen.outputs[own, labels],
            "train_probability": np.exp(-seen.train_loss).mean(0),
            # of probability, margin, loss over entropy and LSI the probability found planted label errors best (CIFAR-10
            # features)
            "label_quality": given,
            "suggested_label": pd.Series(classes[predicted]).convert_dtypes().mask(predicted == labels),
        }

    def prediction(self, seen: Seen[ClassTargets]) -> np.ndarray:
        return np.exp(seen.outputs, out=np.empty(seen.outputs.shape, np.float32), casting="same_kind")

    def agreement(self, targets: ClassTargets, outputs: np.ndarray) -> dict[str, float]:
        """Share of the samples that are classified as labelled."""
        return {"train_accuracy": float((outputs.argmax(1) == targets.codes).mean())}

    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        if prediction.min() < 0 or np.abs(prediction.sum(1, dtype=np.float64) - 1).max() > ROUNDING:
            raise ValueError("the probabilities hold rows that are no probabilities")
        classes = pd.Index(outputs)
        for name in ("label", "loo_label", "suggested_label"):
            known = table[name].dropna() if name == "suggested_label" else table[name]
            if (classes.get_indexer(pd.Index(known)) < 0).any():
                raise ValueError(f"the column {name!r} holds a value that is no class of the run")
        given = prediction[np.arange(len(table)), classes.get_indexer(pd.Index(table["label"]))]
        if (np.abs(given - table["loo_probability"].to_numpy()) > ROUNDING).any():
            raise ValueError("the probabilities are not those of loo_probability; the classes may be in another order")

    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The classes, those without a scored sample too."""
        codes = pd.Index(outputs).get_indexer(pd.Index(table["label"]))
        order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(outputs))
        return list(zip(outputs.astype(str).tolist(), np.split(order, np.cumsum(sizes)[:-1]), strict=True))

    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        different: np.ndarray = (other.astype(str) != table["label"].astype(str)).to_numpy()
        return different

    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """Those that a model which never saw the sample finds less likely than `doubt_line`."""
        less: np.ndarray = table["label_quality"].to_numpy() < doubt_line(outputs)
        return less

    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """A row a class."""
        told = table.assign(doubted=self.doubted(table, outputs))
        rows = [self._row(str(name), part) for name, part in told.groupby("label", sort=True)]
        return ordered_summary(rows, self._row("all", told), CLASSES)

    def _row(self, name: str, part: pd.DataFrame) -> dict[str, Any]:
        evidence = {"loo_accuracy": part["suggested_label"].isna().mean(), "doubted": int(part["doubted"].sum())}
        return {"label": name, **lsi_summary(part), **evidence}


def doubt_line(outputs: np.ndarray) -> float:
    """1/C, the probability of guessing one of the C classes; of two classes 1/3, where the other is twice as likely.

    On planted and human errors it was better than the thresholds by class of confident learning (docs/howto/label-errors.md).
    """
    return 1 / max(FEWEST_CLASSES, len(outputs))


def _largest_other(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) the largest output of another class than the label of each sample, outputs (n, C)."""
    largest = np.empty(len(outputs), outputs.dtype)
    for start in range(0, len(outputs), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        others = outputs[rows].copy()
        others[np.arange(len(others)), labels[rows]] = -np.inf
        largest[rows] = others.max(1)
    return largest
