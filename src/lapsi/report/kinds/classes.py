"""Classes on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.report.kinds.base import Phrases, View
from lapsi.report.packing import as_strings, pack
from lapsi.report.phrasing import counted, n_doubted, share
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.evidence.classes import doubt_line
from lapsi.results.scores import Scores
from lapsi.settings import task

TOP_PREDICTIONS = 3
KINDS = Kinds(
    names=("typical or redundant", "ambiguous", "hard or rare", "likely mislabelled"),
    meanings=(
        "little LSI, and the label is not doubted: others teach the same, it would hardly be missed",
        "little LSI, though the label is doubted: it has company that says the same",
        "much LSI, and the label is not doubted: few others teach the same, worth keeping",
        "much LSI, and the label is doubted: look at these first",
    ),
    corners=(1, 0, 3, 2),
    measure="label_quality",
    of_size=False,
    ends=(-0.02, 1.02),
    note="Much LSI: the top quarter of this run. Doubted: a label that a model which never saw the sample finds less likely "
    "than a blind guess, one in as many as there are classes; of two classes, half as likely as the other.",
)

SAY = Phrases(
    high="atypical, hard or mislabelled",
    wrong="a wrong label",
    evidence="label errors",
    quality="label quality",
    quality_is="the probability of the given label under a model that never saw the sample",
    doubtful="Label quality below a blind guess",
    one="label",
    many="labels",
    part="class",
    parts="classes",
    chart="Classes ordered by median (dot). The thick bar holds the middle half of a class, the thin line 90% of it. Click "
    "a class to select it.",
    scatter="LSI against label quality",
    scatter_lead="To the right, a model that never saw the sample finds its label likely; left of the line it "
    "is doubted. Upwards, the sample moves the model more.",
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
        """Where a label is doubted."""
        return replace(SAY, doubtful=f"Label quality below {_percent(doubt_line(outputs))}, {_in_words(outputs)},")

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        table, names = scores.table.iloc[rows], pd.Index(scores.classes.astype(str))
        predictions = np.argsort(-scores.loo_proba[rows], axis=1, kind="stable")[:, :TOP_PREDICTIONS]
        probabilities = np.take_along_axis(scores.loo_proba[rows], predictions, 1)
        return {
            "names": names.tolist(),
            "given": pack(_codes_of(table["label"], names)),
            "doubted": pack(scores.doubted[rows].astype(np.uint8)),
            "line": doubt_line(scores.outputs),
            "predicted": pack(_codes_of(table["loo_label"], names)),
            "top": {"codes": pack(predictions.astype(np.uint32)), "probability": pack(probabilities.astype(np.float32))},
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        """Left of the line are the labels that are doubted."""
        line = doubt_line(scores.outputs)
        return Quadrants(KINDS, lsi_line(scores.lsi), line, line)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        doubted, accuracy = n_doubted(scores), scores.provenance.train_accuracy
        agreed = float(scores.table["suggested_label"].isna().mean())
        return [
            (f"{scores.provenance.n_classes:,}", "classes"),
            (f"{doubted:,}", f"labels doubted ({doubted / len(scores):.1%})"),
            (f"{agreed:.1%}", "leave-one-out accuracy"),
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
            f"Of {counted(doubted)} ({doubted / len(scores):.1%}) the label is doubted: the model that never saw the sample "
            f"gives it less than {_percent(doubt_line(scores.outputs))}, {_in_words(scores.outputs)}. A doubted label is not a "
            "wrong one: look before you change it."
        )


def _in_words(outputs: np.ndarray) -> str:
    """What the line means at which a label is doubted."""
    return "a blind guess" if len(outputs) > 2 else "where the other class is twice as likely"


def _percent(share: float) -> str:
    """E.g. "12.5%" or "10%"."""
    return f"{100 * share:.3g}%"


def _codes_of(values: pd.Series, names: pd.Index) -> np.ndarray:
    """(k,) uint32, the position of each value among the names of the classes."""
    return names.get_indexer(pd.Index(as_strings(values))).astype(np.uint32)
