"""Classes on the page."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.report.kinds.base import Phrases, View
from lapsi.report.packing import as_strings, pack
from lapsi.report.phrasing import counted, n_doubted, share
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.scores import Scores
from lapsi.settings import task

TOP_PREDICTIONS = 3
KINDS = Kinds(
    names=("redundant", "typical", "hard but right", "likely mislabelled"),
    meanings=(
        "little LSI, and the model is sure of the label without the sample: it would hardly be missed",
        "little LSI, ordinary confidence: the main stream of its class",
        "much LSI, yet the model agrees with the label without having seen it: rare, worth keeping",
        "much LSI, and the model prefers another label: look at these first",
    ),
    corners=(1, 0, 3, 2),
    measure="loo_margin",
    of_size=False,
    ends=(-1.02, 1.02),
    note="Much LSI: the top quarter of this run. Sure: a confidence margin of at least the median of the other three quarters.",
)

SAY = Phrases(
    high="atypical, hard or mislabelled",
    wrong="a wrong label",
    evidence="label errors",
    quality="label quality",
    quality_is="the probability of the given label under a model that never saw the sample",
    doubtful="Label quality below 50%",
    one="label",
    many="labels",
    part="class",
    parts="classes",
    chart="Classes ordered by median (dot). The thick bar holds the middle half of a class, the thin line 90% of it. Click "
    "a class to select it.",
    scatter="LSI against leave-one-out confidence",
    scatter_lead="To the right, a model that never saw the sample agrees with its label; left of 0 it prefers another one. "
    "Upwards, the sample moves the model more.",
    colour="class",
    filter="Choose a label there to see one class.",
    relabel="relabel",
    least="least trusted labels",
    exactness="accuracy",
)


@final
class ClassView(View):
    """One class a sample."""

    task: ClassVar[str] = task.CLASSES
    scripts: ClassVar[tuple[str, ...]] = ("targets-classes",)
    hidden: ClassVar[tuple[str, ...]] = ("objective.noise variance", "objective.noise removal")

    def phrases(self, outputs: np.ndarray) -> Phrases:
        return SAY

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        table, names = scores.table.iloc[rows], pd.Index(scores.classes.astype(str))
        predictions = np.argsort(-scores.loo_proba[rows], axis=1, kind="stable")[:, :TOP_PREDICTIONS]
        probabilities = np.take_along_axis(scores.loo_proba[rows], predictions, 1)
        return {
            "names": names.tolist(),
            "given": pack(_codes_of(table["label"], names)),
            "predicted": pack(_codes_of(table["loo_label"], names)),
            "top": {"codes": pack(predictions.astype(np.uint32)), "probability": pack(probabilities.astype(np.float32))},
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        """What is sure lies above the median margin of the lower half, or above 0 where that is negative."""
        margin, line = scores.table["loo_margin"].to_numpy(), lsi_line(scores.lsi)
        below = margin[scores.lsi < line]
        return Quadrants(KINDS, line, 0.0, max(0.0, float(np.median(below))) if len(below) else 0.0)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        doubted, accuracy = n_doubted(scores), scores.provenance.train_accuracy
        return [
            (f"{scores.provenance.n_classes:,}", "classes"),
            (f"{doubted:,}", f"labels doubted ({doubted / len(scores):.1%})"),
            (f"{1 - doubted / len(scores):.1%}", "leave-one-out accuracy"),
            (share(accuracy), "training accuracy"),
        ]

    def predicted(self, scores: Scores) -> str:
        return f"in {scores.provenance.n_classes:,} classes"

    def part_named(self, name: str, outputs: np.ndarray) -> str:
        return f"samples of class “{name}”"

    def carried(self, column: Column) -> Column:
        return column

    def called(self, column: Column) -> str:
        return column.name

    def doubts(self, scores: Scores) -> str:
        doubted = n_doubted(scores)
        return (
            f"For {counted(doubted)} ({doubted / len(scores):.1%}) the model that never saw the sample "
            "prefers another label. A doubted label is not a wrong one: look before you change it."
        )


def _codes_of(values: pd.Series, names: pd.Index) -> np.ndarray:
    """(k,) uint32, the position of each value among the names of the classes."""
    return names.get_indexer(pd.Index(as_strings(values))).astype(np.uint32)
