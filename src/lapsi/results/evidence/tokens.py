"""Evidence on texts: how well the model that never saw one predicts its tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.targets import TokenTargets
from lapsi.results.columns import CLASSES, COLUMNS, SAMPLE, SOFTMAX, WHOLE, Column
from lapsi.results.evidence.base import Evidence, Seen, lsi_summary, ordered_summary, quarters
from lapsi.settings import task

TEXT = "tokens"
LARGEST = 700.0  # of a mean loss, of which the exponential is a number

_number = partial(Column, measure=TEXT)
LABEL = _number("label", "tokens", "how many of its tokens count", measure=SAMPLE, format=WHOLE)
PERPLEXITY = _number(
    "loo_label",
    "leave-one-out perplexity",
    "exp of the mean loss of its tokens under the model that never saw the text: among how many words it wavers",
    format=".1f",
    direction="high",
    short="LOO perplexity",
)
OWN = (
    _number(
        "train_perplexity",
        "training perplexity",
        "the same under the model that saw the text",
        format=".1f",
        short="perplexity",
    ),
    replace(
        COLUMNS["loo_loss"],
        measure=TEXT,
        help="mean loss of its tokens under the model that never saw the text, nats a token",
    ),
    _number(
        "memorised",
        "memorised",
        "what the loss of a token, on average, is larger for the model that never saw the text, nats a token",
        format=".2e",
        unit="nats",
        direction="high",
    ),
    _number(
        "label_quality",
        "predictability",
        "geometric mean of the probabilities of its tokens under the model that never saw the text, in [0, 1]",
        format=".3f",
        direction="low",
    ),
    _number("suggested_label", "suggested", "nothing is suggested for a text", format=""),
)
LEFT_OUT = {column.name for column in COLUMNS.values() if column.measure == SOFTMAX} | {"label", "rank_in_class"}
FIRST = ("id", "row")
REPLACED = {
    "lsi": replace(
        COLUMNS["lsi"], help="Laplace Sample Information, KL(with ‖ without), nats, ≥ 0; high: atypical, hard or garbled"
    ),
    "leverage": replace(COLUMNS["leverage"], help="how much the text bends its own fit"),
}
SUMMARY = {
    **{name: CLASSES[name] for name in ("samples", "lsi_median", "lsi_mean", "lsi_max", "curvature_share")},
    "loo_loss": _number(
        "loo_loss", "leave-one-out loss", "mean loss of a token, nats", format=".3f", unit="nats", short="LOO loss"
    ),
    "memorised": _number(
        "memorised", "memorised", "what that is more than the training loss, nats a token", format=".1e", unit="nats"
    ),
}


@final
class TokenEvidence(Evidence[TokenTargets]):
    """A class for each token of a text."""

    task: ClassVar[str] = task.TOKENS
    summary_columns: ClassVar = SUMMARY
    summary_title: ClassVar[str] = "By length in tokens, ordered by median LSI (nats)"
    rows_are: ClassVar[str] = "quarters"
    rows_by: ClassVar[str] = "label"
    wrong: ClassVar[str] = "a bad text"
    atypical: ClassVar[str] = "atypical, hard or garbled"
    overlap: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ("loo_label", "loo_loss", "memorised")

    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        rest = [REPLACED.get(name, column) for name, column in COLUMNS.items() if name not in {*LEFT_OUT, *FIRST}]
        at = [column.name for column in rest].index("leverage")
        ordered = (*(COLUMNS[name] for name in FIRST), LABEL, *rest[:at], PERPLEXITY, *OWN, *rest[at:])
        return {column.name: column for column in ordered}

    def compute(self, seen: Seen[TokenTargets]) -> dict[str, Any]:
        counts = seen.targets.counts
        without, within = self.prediction(seen)[:, 0], seen.train_loss.mean(0)
        return {
            "label": counts,
            "loo_label": np.exp(np.minimum(without, LARGEST)),
            "train_perplexity": np.exp(np.minimum(within, LARGEST)),
            "loo_loss": without,
            "memorised": without - within,
            "label_quality": np.exp(-without),
            "suggested_label": pd.Series(np.full(len(counts), np.nan)),
        }

    def prediction(self, seen: Seen[TokenTargets]) -> np.ndarray:
        """The mean loss of a token, nats."""
        return seen.outputs

    def agreement(self, targets: TokenTargets, outputs: np.ndarray) -> dict[str, float]:
        """Perplexity of all tokens."""
        mean = float(np.average(outputs[:, 0], weights=targets.counts))
        return {"train_perplexity": float(np.exp(min(mean, LARGEST)))}

    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        if not np.isfinite(table["loo_loss"]).all():
            raise ValueError("the column 'loo_loss' holds values that are not finite")

    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The quarters of their lengths, from the shortest."""
        return quarters(table["label"].to_numpy(), ",")

    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        different: np.ndarray = (other.astype(str) != table["label"].astype(str)).to_numpy()
        return different

    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """None: a text has no target."""
        return np.zeros(len(table), dtype=bool)

    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """A row a quarter."""
        rows = [self._row(name, table.iloc[part]) for name, part in self.parts(table, outputs)]
        return ordered_summary(rows, self._row("all", table), SUMMARY)

    def _row(self, name: str, part: pd.DataFrame) -> dict[str, Any]:
        weights = part["label"]
        means = {column: float(np.average(part[column], weights=weights)) for column in ("loo_loss", "memorised")}
        return {"label": name, **lsi_summary(part), **means}
