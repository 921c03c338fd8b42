"""Several labels a sample on the page."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from lapsi.report.kinds.base import Phrases, View
from lapsi.report.packing import pack
from lapsi.report.phrasing import counted, n_doubted, share
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.evidence.labels import HALF, states_of
from lapsi.results.scores import Scores
from lapsi.settings import task

LISTED = 16  # labels of a sample whose probability the page holds: those it has, then the likeliest
KINDS = Kinds(
    names=("typical or redundant", "ambiguous", "hard or rare", "likely mislabelled"),
    meanings=(
        "little LSI, and no label is doubted: others teach the same, it would hardly be missed",
        "little LSI, though a label at least is doubted: it has company that says the same",
        "much LSI, and no label is doubted: few others teach the same, worth keeping",
        "much LSI, and a label at least is doubted: look at these first",
    ),
    corners=(1, 0, 3, 2),
    measure="label_quality",
    of_size=False,
    ends=(-0.01, 1.01),
    note="Much LSI: the top quarter of this run. Doubted: a label whose state, there or not, is less likely than the other.",
)

SAY = Phrases(
    high="atypical, hard or mislabelled",
    wrong="a wrong label",
    evidence="label errors",
    quality="label quality",
    quality_is="the probability of what is given of the least trusted label, there or not, under a model that never saw "
    "the sample",
    doubtful="Label quality below 50%",
    one="labels",
    many="labels",
    part="label",
    parts="labels",
    chart="Each label with the samples that have it, ordered by median (dot). The thick bar holds their middle half, the "
    "thin line 90% of them. Click a label to select them.",
    scatter="LSI against the least trusted label",
    scatter_lead="To the right, a model that never saw the sample agrees with all its labels; left of one half it would "
    "add or take away one at least. Upwards, the sample moves the model more.",
    colour="labels",
    filter="Choose a label there to see the samples that have it.",
    relabel="relabel",
    least="least trusted labels",
    exactness="accuracy",
)


@final
class LabelsView(View):
    """Several labels a sample, each there or not."""

    task: ClassVar[str] = task.MULTILABEL
    scripts: ClassVar[tuple[str, ...]] = ("targets-labels",)
    hidden: ClassVar[tuple[str, ...]] = ("objective.noise variance", "objective.noise removal")

    def phrases(self, outputs: np.ndarray) -> Phrases:
        return SAY

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        table, names = scores.table.iloc[rows], scores.outputs
        given, found = states_of(table["label"], names), states_of(table["loo_label"], names)
        probability = scores.prediction[rows]
        listed = np.argsort(-(probability + given), axis=1, kind="stable")[:, :LISTED]
        return {
            "names": names.astype(str).tolist(),
            "given": _ragged(given),
            "found": _ragged(found),
            "listed": {
                "codes": pack(listed.astype(np.uint32)),
                "probability": pack(np.take_along_axis(probability, listed, 1).astype(np.float32)),
            },
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        """Left of one half is what the model would change."""
        return Quadrants(KINDS, lsi_line(scores.lsi), HALF, HALF)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        doubted, summary = n_doubted(scores), scores.summary()
        return [
            (f"{scores.provenance.n_classes:,}", "labels"),
            (f"{doubted:,}", f"samples with a doubted label ({doubted / len(scores):.1%})"),
            (f"{summary['loo_accuracy'].iloc[-1]:.1%}", "of all states right, leave-one-out"),
            (share(scores.provenance.train_accuracy), "right in training"),
        ]

    def predicted(self, scores: Scores) -> str:
        return f"with {scores.provenance.n_classes:,} labels, each there or not"

    def part_named(self, name: str, outputs: np.ndarray) -> str:
        return f"samples with the label “{name}”"

    def carried(self, column: Column) -> Column:
        return column

    def called(self, column: Column) -> str:
        return column.name

    def doubts(self, scores: Scores) -> str:
        doubted = n_doubted(scores)
        return (
            f"For {counted(doubted)} ({doubted / len(scores):.1%}) the model that never saw the sample would "
            "add or take away a label. A doubted label is not a wrong one: look before you change it."
        )


def _ragged(states: np.ndarray) -> dict[str, Any]:
    """The labels (k, K) that are there: their codes one sample after the other, and where those of each end."""
    return {
        "codes": pack(np.nonzero(states)[1].astype(np.uint32)),
        "ends": pack(np.cumsum(states.sum(1)).astype(np.uint32)),
    }
