"""Evidence on pairs: how well a model that never saw one finds its caption by its picture, and its picture by its caption."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.targets import PairTargets
from lapsi.results.columns import CLASSES, COLUMNS, LSI, SAMPLE, SOFTMAX, Column
from lapsi.results.evidence.base import Evidence, Seen, lsi_summary, ordered_summary, quarters
from lapsi.settings import task

CONTRASTIVE = "contrastive"

_number = partial(Column, measure=CONTRASTIVE, format=".3f")
_rank = partial(_number, format=",.1f", direction="high")
OF_LSI = (
    Column("lsi_image", "LSI, image side", "LSI of the projection of images alone, nats", LSI, ".2e", "nats", "high"),
    Column("lsi_text", "LSI, text side", "LSI of the projection of texts alone, nats", LSI, ".2e", "nats", "high"),
)
LABEL = _number(
    "label", "training loss", "contrastive loss of the pair under the model that saw it, nats", measure=SAMPLE, unit="nats"
)
OWN = (
    _rank(
        "loo_label",
        "leave-one-out rank",
        "place of one side where a model that never saw the pair looks for it by the other, mean of both ways; 1: found",
        short="LOO rank",
    ),
    _rank("rank_text", "rank of the text", "the same of the text, looked for by the image", short="text rank"),
    _rank("rank_image", "rank of the image", "the same of the image, looked for by the text", short="image rank"),
    _number(
        "loo_cosine",
        "leave-one-out cosine",
        "of the projections, in [-1, 1]",
        direction="low",
        short="LOO cosine",
    ),
    replace(
        COLUMNS["loo_loss"], measure=CONTRASTIVE, help="contrastive loss of the pair under the model that never saw it, nats"
    ),
    _number(
        "memorised",
        "memorised",
        "what the loss of the pair is larger for the model that never saw it, nats",
        format=".2e",
        unit="nats",
        direction="high",
    ),
    _number(
        "label_quality",
        "trust in the pair",
        "geometric mean of the probabilities of each side given the other under the model that never saw the pair, in [0, 1]",
        format=".2e",
        direction="low",
        short="trust",
    ),
    _number("suggested_label", "suggested", "nothing is suggested for a pair", format=""),
)
LEFT_OUT = {column.name for column in COLUMNS.values() if column.measure == SOFTMAX} | {"label", "rank_in_class", "leverage"}
FIRST = ("id", "row")
HIGH = replace(
    COLUMNS["lsi"], help="Laplace Sample Information, KL(with ‖ without), nats, ≥ 0; high: atypical, hard or mismatched"
)
SUMMARY = {
    **{name: CLASSES[name] for name in ("samples", "lsi_median", "lsi_mean", "lsi_max", "curvature_share")},
    "loo_loss": _number("loo_loss", "leave-one-out loss", "mean loss, nats", unit="nats", short="LOO loss"),
    "memorised": _number("memorised", "memorised", "what that is more than the training loss, nats", format=".1e", unit="nats"),
}


@final
class PairEvidence(Evidence[PairTargets]):
    """Each side by the other."""

    task: ClassVar[str] = task.PAIRS
    summary_columns: ClassVar = SUMMARY
    summary_title: ClassVar[str] = "By leave-one-out rank, ordered by median LSI (nats)"
    rows_are: ClassVar[str] = "quarters"
    rows_by: ClassVar[str] = "loo_label"
    wrong: ClassVar[str] = "a wrong pair"
    atypical: ClassVar[str] = "atypical, hard or mismatched"
    overlap: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ("loo_label", "loo_loss")

    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        rest = [column for name, column in COLUMNS.items() if name not in {*LEFT_OUT, *FIRST, "lsi"}]
        at = [column.name for column in rest].index("shift_norm")
        ordered = (*(COLUMNS[name] for name in FIRST), LABEL, HIGH, *OF_LSI, *rest[:at], *OWN, *rest[at:])
        return {column.name: column for column in ordered}

    def compute(self, seen: Seen[PairTargets]) -> dict[str, Any]:
        log_text, log_image, rank_text, rank_image, cosine = seen.outputs.T
        without, within = -(log_text + log_image) / 2, seen.train_loss.mean(0)
        return {
            "label": within,
            "loo_label": (rank_text + rank_image) / 2,
            "rank_text": rank_text,
            "rank_image": rank_image,
            "loo_cosine": cosine,
            "loo_loss": without,
            "memorised": without - within,
            "label_quality": np.exp(-without),
            "suggested_label": pd.Series(np.full(len(without), np.nan)),
        }

    def prediction(self, seen: Seen[PairTargets]) -> np.ndarray:
        """The loss, nats."""
        losses: np.ndarray = -(seen.outputs[:, :1] + seen.outputs[:, 1:2]) / 2
        return losses

    def agreement(self, targets: PairTargets, outputs: np.ndarray) -> dict[str, float]:
        """Share of the sides that the model with all pairs finds by the other."""
        return {"train_accuracy": float((outputs[:, 2:4] == 1).mean())}

    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        if not np.isfinite(table["loo_loss"]).all():
            raise ValueError("the column 'loo_loss' holds values that are not finite")

    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The quarters of their leave-one-out ranks, from the best found."""
        return quarters(table["loo_label"].to_numpy(), ",.1f")

    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        different: np.ndarray = (other.astype(str) != table["label"].astype(str)).to_numpy()
        return different

    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """None: the line depends on the number of all pairs, see `lapsi issues`."""
        return np.zeros(len(table), dtype=bool)

    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """A row a quarter."""
        rows = [self._row(name, table.iloc[part]) for name, part in self.parts(table, outputs)]
        return ordered_summary(rows, self._row("all", table), SUMMARY)

    def _row(self, name: str, part: pd.DataFrame) -> dict[str, Any]:
        return {"label": name, **lsi_summary(part), **{each: float(part[each].mean()) for each in ("loo_loss", "memorised")}}
