"""Pairs on the page: how well each side is found by the other, and no label."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from lapsi.report.kinds.base import Phrases, View, part_codes
from lapsi.report.packing import pack
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.scores import Scores
from lapsi.settings import task

LOST = 0.75  # the share of pairs of a smaller loss than those that are lost
KINDS = Kinds(
    names=("typical", "lost", "influential", "atypical"),
    meanings=(
        "little LSI, and found without it: the main stream, much like other pairs",
        "little LSI, though it is not found without it: it hardly moves the model",
        "much LSI, and yet found without it: it carries what few others say",
        "much LSI, and not found without it: mismatched or rare; look at these first",
    ),
    corners=(0, 1, 2, 3),
    measure="loo_loss",
    of_size=False,
    ends=None,
    note="Much LSI: the top quarter of this run. Not found: the quarter of the largest leave-one-out loss.",
)

SAY = Phrases(
    high="atypical, hard or mismatched",
    wrong="a wrong pair",
    evidence="how well each side is found by the other",
    quality="trust in the pair",
    quality_is="the probability that a model which never saw the pair finds one side by the other among all",
    doubtful="A pair that is trusted less than a blind guess",
    one="pair",
    many="pairs",
    part="leave-one-out rank",
    parts="leave-one-out ranks",
    chart="Quarters of the pairs by leave-one-out rank, ordered by median (dot). The thick bar holds the middle half of a "
    "quarter, the thin line 90% of it. Click a quarter to select it.",
    scatter="LSI against leave-one-out loss",
    scatter_lead="To the right, the model that never saw the pair finds one side by the other less. Upwards, the pair moves "
    "the model more.",
    colour="leave-one-out loss",
    filter="Choose ranks there to see one quarter.",
    relabel="",
    least="least trusted pairs",
    exactness="exactness",
    map="Map of the pairs",
    map_lead="Pairs whose projections, of both sides, point the same way lie near each other",
)


@final
class PairsView(View):
    """Each side by the other."""

    task: ClassVar[str] = task.PAIRS
    scripts: ClassVar[tuple[str, ...]] = ("targets-pairs",)
    hidden: ClassVar[tuple[str, ...]] = ("objective.noise variance", "objective.noise removal", "objective.class weight")

    def phrases(self, outputs: np.ndarray) -> Phrases:
        return SAY

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        names, part = part_codes(scores)
        guess = 1 / scores.provenance.n_samples
        return {
            "doubted": pack((scores.table["label_quality"].to_numpy() < guess)[rows].astype(np.uint8)),
            "rank": pack(scores.table["loo_label"].to_numpy(np.float32)[rows]),
            "parts": names,
            "part": pack(part[rows]),
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        lost = float(np.quantile(scores.table["loo_loss"], LOST))
        return Quadrants(KINDS, lsi_line(scores.lsi), lost, lost)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        ranks, trained = scores.table[["rank_text", "rank_image"]].to_numpy(), scores.provenance.train_accuracy
        return [
            (f"{(ranks == 1).mean():.1%}", "found without them"),
            (f"{np.median(ranks):,.0f}", "median leave-one-out rank"),
            ("–" if trained is None else f"{trained:.1%}", "found in training"),
        ]

    def predicted(self, scores: Scores) -> str:
        return "to be found by each other"

    def part_named(self, name: str, outputs: np.ndarray) -> str:
        return f"pairs of leave-one-out rank {name}"

    def carried(self, column: Column) -> Column:
        return column

    def called(self, column: Column) -> str:
        return column.title

    def doubts(self, scores: Scores) -> str:
        doubted = int((scores.table["label_quality"] < 1 / scores.provenance.n_samples).sum())
        if doubted == 0:
            return "No pair is trusted less than a blind guess."
        told = "1 pair is" if doubted == 1 else f"{doubted:,} pairs are"
        return f"{told} trusted less than a blind guess: the sides may not belong together."
