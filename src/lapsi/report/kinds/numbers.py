"""Numbers on the page, which knows no word of classification then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.dataset import LABELS
from lapsi.report.kinds.base import Phrases, View, part_codes
from lapsi.report.packing import pack
from lapsi.report.phrasing import counted, n_doubted
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.evidence.numbers import given_numbers
from lapsi.results.scores import Scores
from lapsi.settings import task

FAR = 2.0  # standard deviations: of right targets of a model that fits 1 in 22 lies farther off
KINDS = Kinds(
    names=("typical", "noisy", "influential", "suspect"),
    meanings=(
        "little LSI, and the model expects about this target without the sample: the main stream",
        "little LSI, though the target lies far off what the model expects: it hardly moves the model",
        "much LSI, yet the target is about what the model expects without it: rare features, worth keeping",
        "much LSI, and the target lies far off what the model expects: look at these first",
    ),
    corners=(0, 1, 2, 3),
    measure="loo_deviation",
    of_size=True,
    ends=None,
    note=f"Much LSI: the top quarter of this run. Far off: at least {FAR:.0f} standard deviations, as 1 in 22 right targets.",
)

SAY = Phrases(
    high="atypical, influential or its target is wrong",
    wrong="a wrong target",
    evidence="wrong targets",
    quality="target quality",
    quality_is="the probability that a right target lies as far from the prediction of a model that never saw the sample, "
    "or farther",
    doubtful="Target quality below 5%, two standard deviations,",
    one="target",
    many="targets",
    part="quarter of the target",
    parts="quarters of the target",
    chart="Quarters ordered by median (dot). The thick bar holds the middle half of a quarter, the thin line 90% of it. "
    "Click a quarter to select it.",
    scatter="LSI against leave-one-out deviation",
    scatter_lead="To the right, the target lies farther from what a model that never saw the sample expects, in standard "
    "deviations. Upwards, the sample moves the model more.",
    colour="target",
    filter="Choose a target there to see one quarter.",
    relabel="change",
    least="least trusted targets",
    exactness="exactness",
)


@final
class NumbersView(View):
    """One number a sample, or several."""

    task: ClassVar[str] = task.REGRESSION
    scripts: ClassVar[tuple[str, ...]] = ("targets-numbers", "fit")
    hidden: ClassVar[tuple[str, ...]] = ("objective.class weight",)

    def phrases(self, outputs: np.ndarray) -> Phrases:
        """Of several numbers the quarters are of the first."""
        if len(outputs) == 1:
            return SAY
        return replace(SAY, part=f"quarter of {outputs[0]}", parts=f"quarters of {outputs[0]}")

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        table, outputs = scores.table.iloc[rows], scores.outputs
        names, part = part_codes(scores)
        worst = pd.Index(outputs).get_indexer(table["doubted_label"]) if len(outputs) > 1 else np.zeros(len(rows))
        return {
            "outputs": outputs.astype(str).tolist(),
            "given": pack(given_numbers(table, outputs)),
            "predicted": pack(scores.prediction[rows].astype(np.float64)),
            "worst": pack(worst.astype(np.uint32)),
            "doubted": pack(table["suggested_label"].notna().to_numpy(np.uint8)),
            "parts": names,
            "part": pack(part[rows]),
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        return Quadrants(KINDS, lsi_line(scores.lsi), FAR, FAR)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        doubted, summary, fitted = n_doubted(scores), scores.summary(), scores.provenance.train_r2
        several = [(f"{len(scores.outputs):,}", "targets a sample")] if len(scores.outputs) > 1 else []
        counted_as = "samples with a doubted target" if several else "targets doubted"
        return [
            *several,
            (
                f"{doubted:,}",
                f"{counted_as} ({doubted / len(scores):.1%})",
            ),
            (f"{summary['loo_r2'].iloc[-1]:.3f}", "leave-one-out R²"),
            ("–" if fitted is None else f"{fitted:.3f}", "training R²"),
        ]

    def predicted(self, scores: Scores) -> str:
        n_outputs = len(scores.outputs)
        return "with a number to predict" if n_outputs == 1 else f"with {n_outputs:,} numbers to predict"

    def part_named(self, name: str, outputs: np.ndarray) -> str:
        return f"samples with {'a target' if len(outputs) == 1 else outputs[0]} of {name}"

    def carried(self, column: Column) -> Column:
        """Second labels are second targets."""
        if not column.name.startswith(LABELS):
            return column
        title, said = (text.replace("label", "target") for text in (column.title, column.help))
        return replace(column, title=title, help=said, format=".4g")

    def called(self, column: Column) -> str:
        return column.title

    def doubts(self, scores: Scores) -> str:
        doubted = n_doubted(scores)
        which = f"{counted(doubted)} ({doubted / len(scores):.1%})"
        expected = "what the model that never saw the sample expects"
        off = (
            f"The target of {which} lies more than three standard deviations from {expected}."
            if len(scores.outputs) == 1
            else f"The targets of {which} lie as far from {expected} as those of 1 in 370 right samples."
        )
        return f"{off} A doubted target is not a wrong one: look before you change it."
