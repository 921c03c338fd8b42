"""Evidence on numbers: how far each lies from the prediction of the model that never saw the sample."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lapsi.data.targets import RealTargets, as_shown
from lapsi.results.columns import CLASSES, COLUMNS, SAMPLE, SOFTMAX, Column
from lapsi.results.evidence.base import Evidence, Seen, lsi_summary, ordered_summary, quarters
from lapsi.settings import task

GAUSSIAN = "gaussian"
ROUNDING = 1e-6  # relative, of numbers that went through a file of text
DOUBTED_BELOW = 0.0027  # a normal number beyond three standard deviations

_number = partial(Column, measure=GAUSSIAN, format=".4g")
LABEL = _number("label", "target", "its number to predict, as given", measure=SAMPLE)
PREDICTION = _number(
    "loo_label", "leave-one-out prediction", "prediction of the model that never saw the sample", short="LOO prediction"
)
RESIDUAL = _number("loo_residual", "leave-one-out residual", "target minus leave-one-out prediction", short="LOO residual")
SUGGESTED = _number(
    "suggested_label",
    "suggested value",
    "leave-one-out prediction where the target lies beyond three standard deviations of it, else missing",
    short="suggested",
)
OWN = (
    _number(
        "loo_deviation",
        "leave-one-out deviation",
        "the residual in standard deviations of what the model expects; of several targets that of largest size",
        format=".2f",
        short="deviation",
    ),
    replace(COLUMNS["loo_loss"], measure=GAUSSIAN, help="-ln of the density at the target, nats; may be negative"),
    _number(
        "label_quality",
        "target quality",
        "probability that a right target lies as far off or farther, in [0, 1]; low: likely wrong",
        format=".3f",
        direction="low",
        short="quality",
    ),
)
WORST = _number("doubted_label", "doubted target", "of several targets the one of largest deviation", format="")
REPLACED = {
    "lsi": replace(
        COLUMNS["lsi"],
        help="Laplace Sample Information, KL(with ‖ without), nats, ≥ 0; high: atypical, influential or with a wrong target",
    ),
    "leverage": replace(COLUMNS["leverage"], help="how much the sample bends its own fit (closed form)"),
}
FIRST_NAMES = ("id", "row")
SAMPLE_FIRST = [COLUMNS[name] for name in FIRST_NAMES]
LEFT_OUT = {column.name for column in COLUMNS.values() if column.measure == SOFTMAX} | {"label", "rank_in_class"}
SUMMARY = {
    **{name: CLASSES[name] for name in ("samples", "lsi_median", "lsi_mean", "lsi_max", "curvature_share")},
    "loo_r2": _number(
        "loo_r2",
        "leave-one-out R²",
        "share of the variance of all targets that models which never saw them explain",
        format=".3f",
        short="LOO R²",
    ),
    "doubted": replace(CLASSES["doubted"], title="doubted targets", help="targets beyond three standard deviations"),
}


@final
class NumbersEvidence(Evidence[RealTargets]):
    """One number a sample, or several."""

    task: ClassVar[str] = task.REGRESSION
    summary_columns: ClassVar = SUMMARY
    summary_title: ClassVar[str] = "By quarter of the target, ordered by median LSI (nats)"
    rows_are: ClassVar[str] = "quarters"
    rows_by: ClassVar[str] = "label"
    wrong: ClassVar[str] = "a wrong target"
    atypical: ClassVar[str] = "atypical, influential or with a wrong target"
    overlap: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ("loo_label", "loo_deviation", "label_quality", "suggested_label")

    def columns(self, outputs: np.ndarray) -> dict[str, Column]:
        """Of several targets each has its own number, prediction and residual, and what names them together is text."""
        several = len(outputs) > 1
        rest = [REPLACED.get(name, column) for name, column in COLUMNS.items() if name not in {*LEFT_OUT, *FIRST_NAMES}]
        before, after = _split_at(rest, "leverage")
        label, prediction, suggested = (
            replace(each, format="") if several else each for each in (LABEL, PREDICTION, SUGGESTED)
        )
        each = [*_of_each(LABEL, outputs), *_of_each(PREDICTION, outputs)] if several else []
        residuals = _of_each(RESIDUAL, outputs) if several else [RESIDUAL]
        own = [prediction, *each, *residuals, *OWN, *([WORST] if several else []), suggested]
        return {column.name: column for column in (*SAMPLE_FIRST, label, *before, *own, *after)}

    def compute(self, seen: Seen[RealTargets]) -> dict[str, Any]:
        targets, noise = seen.targets, np.asarray(seen.noise_variance)
        given, predicted, n_outputs = targets.given, self.prediction(seen), targets.n_outputs
        residual = given - predicted
        bent = 0.0 if seen.leverage is None else (seen.leverage / n_outputs)[:, None]
        deviation = residual * np.sqrt(np.maximum(1 - bent, 0) / noise)  # it is N(0, σ²/(1 − h)), h ≤ 1 but for rounding
        worst = np.abs(deviation).argmax(1)
        quality = chi_square_tail(np.square(deviation).sum(1), n_outputs)
        found = as_shown(predicted)
        together = {
            "label": as_shown(given),
            "loo_label": found,
            "loo_deviation": deviation[np.arange(len(worst)), worst],
            "loo_loss": 0.5 * (np.square(residual) / noise + np.log(2 * np.pi * noise)).sum(1),
            "label_quality": quality,
            "suggested_label": pd.Series(found).convert_dtypes().mask(quality >= DOUBTED_BELOW),
        }
        if n_outputs == 1:
            return {**together, "loo_residual": residual[:, 0]}
        names = np.asarray(targets.columns).astype(str).astype(object)
        values = ((LABEL, given), (PREDICTION, predicted), (RESIDUAL, residual))
        apart = {f"{column.name}_{name}": array[:, k] for column, array in values for k, name in enumerate(names)}
        return {**together, **apart, "doubted_label": names[worst]}

    def prediction(self, seen: Seen[RealTargets]) -> np.ndarray:
        predicted: np.ndarray = seen.outputs * seen.targets.scale + seen.targets.mean
        return predicted

    def agreement(self, targets: RealTargets, outputs: np.ndarray) -> dict[str, float]:
        """Share of the variance of all targets that is explained."""
        values = targets.values
        rest, centred = np.square(values - outputs).sum(), values - values.mean(0)
        return {"train_r2": float(1 - rest / np.square(centred).sum())}

    def require(self, table: pd.DataFrame, prediction: np.ndarray, outputs: list[Any]) -> None:
        for name in self._residuals(np.array(outputs)):
            if not np.isfinite(table[name]).all():
                raise ValueError(f"the column {name!r} holds values that are not finite")

    def parts(self, table: pd.DataFrame, outputs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The quarters of the (first) target, from the lowest."""
        return quarters(given_numbers(table, outputs)[:, 0], ".4g")

    def differs(self, table: pd.DataFrame, other: pd.Series) -> np.ndarray:
        """By more than rounding; of several targets their texts are compared."""
        if not pd.api.types.is_numeric_dtype(table[LABEL.name]):
            different: np.ndarray = (other.astype(str) != table[LABEL.name].astype(str)).to_numpy()
            return different
        return ~np.isclose(pd.to_numeric(other).to_numpy(np.float64), table[LABEL.name].to_numpy(), ROUNDING, 0)

    def doubted(self, table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
        """Those beyond three standard deviations."""
        far: np.ndarray = table["label_quality"].to_numpy() < DOUBTED_BELOW
        return far

    def summarise(self, table: pd.DataFrame, outputs: np.ndarray) -> pd.DataFrame:
        """A row a quarter."""
        residuals = self._residuals(outputs)
        rows = [self._row(name, table.iloc[part], table, residuals) for name, part in self.parts(table, outputs)]
        return ordered_summary(rows, self._row("all", table, table, residuals), SUMMARY)

    def _row(self, name: str, part: pd.DataFrame, table: pd.DataFrame, residuals: list[str]) -> dict[str, Any]:
        shares = [_explained(part[residual], table[self._label_of(residual)]) for residual in residuals]
        doubted = int(part["suggested_label"].notna().sum())
        return {"label": name, **lsi_summary(part), "loo_r2": float(np.mean(shares)), "doubted": doubted}

    def _residuals(self, outputs: np.ndarray) -> list[str]:
        return [RESIDUAL.name] if len(outputs) == 1 else [column.name for column in _of_each(RESIDUAL, outputs)]

    def _label_of(self, residual: str) -> str:
        return residual.replace(RESIDUAL.name, LABEL.name, 1)


def given_numbers(table: pd.DataFrame, outputs: np.ndarray) -> np.ndarray:
    """(n, K) the targets of a table."""
    names = [LABEL.name] if len(outputs) == 1 else [column.name for column in _of_each(LABEL, outputs)]
    numbers: np.ndarray = table[names].to_numpy(np.float64)
    return numbers


def _split_at(columns: list[Column], name: str) -> tuple[list[Column], list[Column]]:
    at = [column.name for column in columns].index(name)
    return columns[:at], columns[at:]


def _of_each(column: Column, outputs: np.ndarray) -> list[Column]:
    """A column for each of several targets, named after them."""
    return [replace(column, name=f"{column.name}_{name}", title=f"{column.title} {name}", short="") for name in outputs]


def _explained(residual: pd.Series, target: pd.Series) -> float:
    """R² of some predictions against the variance of all targets, NaN where these do not vary."""
    variance = float(target.var(ddof=0))
    return 1 - float(np.square(residual).mean()) / variance if variance > 0 else float("nan")


def chi_square_tail(values: np.ndarray, n_squares: int) -> np.ndarray:
    """P(χ² > value) of a sum of so many squared standard normal numbers.

    By Q(a + 1, x) = Q(a, x) + xᵃe⁻ˣ/Γ(a + 1) from Q(½, x) = erfc(√x) or Q(1, x) = e⁻ˣ, x half the value.
    """
    half = np.asarray(values) / 2
    if n_squares % 2:
        order, tail = 0.5, np.array([math.erfc(each) for each in np.sqrt(half)])
    else:
        order, tail = 1.0, np.exp(-half)
    while order < n_squares / 2:
        tail = tail + half**order * np.exp(-half) / math.gamma(order + 1)
        order += 1
    return tail
