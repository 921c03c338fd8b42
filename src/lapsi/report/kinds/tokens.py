"""Texts on the page: how well their tokens are predicted, and no label."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from lapsi.report.kinds.base import Phrases, View, part_codes
from lapsi.report.packing import pack
from lapsi.report.quadrants import Kinds, Quadrants, lsi_line
from lapsi.results.columns import Column
from lapsi.results.scores import Scores
from lapsi.settings import task

HARD = 0.75  # the share of texts of a smaller loss than those that are hard
KINDS = Kinds(
    names=("typical", "noisy", "influential", "atypical"),
    meanings=(
        "little LSI, and predicted well without it: the main stream, much like other texts",
        "little LSI, though it is predicted badly: it hardly moves the model",
        "much LSI, and yet predicted well without it: long, or it carries what few others say",
        "much LSI, and predicted badly without it: garbled, foreign or rare; look at these first",
    ),
    corners=(0, 1, 2, 3),
    measure="loo_loss",
    of_size=False,
    ends=None,
    note="Much LSI: the top quarter of this run. Predicted badly: the quarter of the largest leave-one-out loss a token.",
)

SAY = Phrases(
    high="atypical, hard or garbled",
    wrong="a bad text",
    evidence="how well it is predicted",
    quality="predictability",
    quality_is="the geometric mean of the probabilities that a model which never saw the text gives its tokens",
    doubtful="A text that is far less predictable than others",
    one="tokens",
    many="texts",
    part="length",
    parts="lengths",
    chart="Quarters of the texts by their length in tokens, ordered by median (dot). The thick bar holds the middle half of a "
    "quarter, the thin line 90% of it. Click a quarter to select it.",
    scatter="LSI against leave-one-out loss",
    scatter_lead="To the right, the model that never saw the text predicts its tokens worse. Upwards, the text moves the model "
    "more.",
    colour="length",
    filter="Choose a length there to see one quarter.",
    relabel="",
    least="least predictable texts",
    exactness="exactness",
)


@final
class TokensView(View):
    """A class for each token of a text."""

    task: ClassVar[str] = task.TOKENS
    scripts: ClassVar[tuple[str, ...]] = ("targets-tokens",)
    hidden: ClassVar[tuple[str, ...]] = ("objective.noise variance", "objective.noise removal", "objective.class weight")

    def phrases(self, outputs: np.ndarray) -> Phrases:
        return SAY

    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        names, part = part_codes(scores)
        table = scores.table.iloc[rows]
        return {
            "counts": pack(table["label"].to_numpy(np.uint32)),
            "perplexity": pack(table["loo_label"].to_numpy(np.float32)),
            "parts": names,
            "part": pack(part[rows]),
        }

    def quadrants(self, scores: Scores) -> Quadrants:
        hard = float(np.quantile(scores.table["loo_loss"], HARD))
        return Quadrants(KINDS, lsi_line(scores.lsi), hard, hard)

    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        loss, fitted = float(scores.summary()["loo_loss"].iloc[-1]), scores.provenance.train_perplexity
        return [
            (f"{int(scores.table['label'].sum()):,}", "tokens"),
            (f"{np.exp(loss):.1f}", "leave-one-out perplexity"),
            ("–" if fitted is None else f"{fitted:.1f}", "training perplexity"),
        ]

    def predicted(self, scores: Scores) -> str:
        return "with a class to predict for each token"

    def part_named(self, name: str, outputs: np.ndarray) -> str:
        return f"texts of {name} tokens"

    def carried(self, column: Column) -> Column:
        return column

    def called(self, column: Column) -> str:
        return column.title

    def doubts(self, scores: Scores) -> str:
        return "No token is doubted alone. Texts of high LSI that are badly predicted deserve a look."
