"""How runs look in a terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lapsi.analysis.agreement import Agreement
from lapsi.engines.base import Plan
from lapsi.execution.cost import GIB
from lapsi.results.columns import CLASSES, COLUMNS, Column
from lapsi.results.scores import Scores
from lapsi.settings.settings import Settings, settings_from_dict

CLASSES_SHOWN = 40
LISTED_AT_MOST = 10
POOR_ACCURACY = 0.05
BY_CLASS = ("samples", "lsi_median", "lsi_max", "curvature_share", "loo_accuracy", "contradicted")
EXTREMES = ("id", "label", "lsi", "loo_probability", "label_quality", "suggested_label")
REFERENCES = {
    "exact": "converged leave-one-out optima",
    "removal form": "converged leave-one-out optima",
    "trained alone": "one model each, in float64 without differences",
}


def run_as_dict(scores: Scores, n_extremes: int) -> dict[str, Any]:
    """What `print_run` shows, as plain JSON values."""
    provenance, ranking = scores.provenance, scores.ranking()
    extremes = {"most_informative": ranking.head(n_extremes), "least_informative": ranking.tail(n_extremes)[::-1]}
    return {
        "n_scored": len(scores),
        "n_samples": provenance.n_samples,
        "settings": provenance.settings,
        "engine": provenance.engine,
        "train_accuracy": provenance.train_accuracy,
        "seconds": provenance.seconds,
        "verification": provenance.verification,
        "summary": to_records(scores.summary().reset_index()),
        **{name: to_records(part) for name, part in extremes.items()},
    }


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values; missing and infinite values as None."""
    known = table.notna() & ~table.isin([np.inf, -np.inf])
    rows = table.astype(object).where(known, None).to_numpy()
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def print_run(scores: Scores, n_extremes: int, console: Console) -> None:
    """Summary by class, both ends of the ranking, accuracy and time."""
    provenance = scores.provenance
    settings = settings_from_dict(provenance.settings)
    console.print(
        f"[bold]{len(scores):,} of {provenance.n_samples:,} samples[/] from [cyan]{escape(provenance.source)}[/]: "
        f"{provenance.n_features} features, {provenance.n_classes} classes; {_probe(settings)}, engine {provenance.engine}, "
        f"{settings.curvature} curvature, weight decay {settings.objective.weight_decay:g}; "
        f"train accuracy {provenance.train_accuracy:.1%}"
    )
    console.print(_summary_table(scores.summary()))
    ranking = scores.ranking()
    columns = [COLUMNS[name] for name in EXTREMES]
    console.print(samples_table("Most informative: atypical, hard or mislabelled", columns, ranking.head(n_extremes)))
    console.print(samples_table("Least informative: typical, redundant", columns, ranking.tail(n_extremes)[::-1]))
    console.print(Group(_accuracy_line(provenance.verification), _seconds_line(provenance.seconds)))


def tell_run(scores: Scores, n_extremes: int, quiet: bool, as_json: bool, left_out: pd.DataFrame | None = None) -> None:
    """Shows a run as JSON or as tables, or not at all; `left_out`: samples that could not be read, for the JSON."""
    if as_json:
        bad = {} if left_out is None or len(left_out) == 0 else {"left_out": to_records(left_out)}
        print(json.dumps(run_as_dict(scores, n_extremes) | bad, indent=2, default=to_json))
    elif not quiet:
        print_run(scores, n_extremes, Console())


def tell_left_out(left_out: pd.DataFrame, console: Console) -> None:
    """Samples (n rows: sample, reason) that could not be read."""
    if len(left_out) == 0:
        return
    console.print(f"{len(left_out):,} samples could not be read and were left out:", style="yellow")
    for row in left_out.head(LISTED_AT_MOST).itertuples():
        console.print(f"  {row.sample} ({row.reason})", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(left_out) > LISTED_AT_MOST:
        console.print(f"  and {len(left_out) - LISTED_AT_MOST:,} more", style="yellow")


def to_json(value: object) -> object:
    """What json cannot write by itself."""
    return value.item() if isinstance(value, np.generic) else str(value)


def print_plan(engine: str, plan: Plan, seconds: float, embedding: dict[str, Any] | None, console: Console) -> None:
    """What a run will cost, and first, where features must be made, what they will."""
    table = Table(title="Plan (nothing was run or written)", title_justify="left", show_header=False)
    if embedding is not None:
        rate = f"about {duration(embedding['seconds'])} at {embedding['samples_per_second']:.0f} samples a second"
        table.add_row("features", f"{embedding['model']}: {rate}, less what the cache has")
    table.add_row("engine", engine)
    table.add_row("peak memory", f"{plan.cost.peak_bytes / GIB:.2f} GiB (limit {plan.cost.limit_bytes / GIB:.2f} GiB)")
    table.add_row("time", f"about {duration(seconds)} on this machine")
    table.add_row("work", f"{sum(plan.cost.flop.values()):.2e} flop")
    for name, value in plan.notes:
        table.add_row(name, value)
    console.print(table)


def plan_as_dict(engine: str, plan: Plan, seconds: float) -> dict[str, Any]:
    """What `print_plan` shows, as plain JSON values."""
    return {"engine": engine, **asdict(plan.cost), "seconds": seconds, **plan.details}


def print_agreement(agreement: Agreement, name_a: str, name_b: str, n_extremes: int, console: Console) -> None:
    """How far two runs agree."""
    console.print(f"[bold]{agreement.n_common:,} samples[/] in both {escape(name_a)} (a) and {escape(name_b)} (b)")
    if agreement.same_data is False:
        console.print("The data sets differ (features, labels or ids).", style="yellow")
    table = Table(title="Agreement of LSI", title_justify="left", show_header=False)
    table.add_row("Spearman", f"{agreement.spearman:.5f}")
    table.add_row("Pearson", f"{agreement.pearson:.5f}")
    table.add_row("Pearson of ln(LSI)", f"{agreement.pearson_log:.5f}")
    for fraction, share in agreement.top_shared.items():
        table.add_row(f"top {fraction:.0%} in common", f"{share:.1%}")
    console.print(table)
    differing = Table(title="Samples whose rank differs most", title_justify="left")
    for name in ("id", "label"):
        differing.add_column(name)
    for name in ("LSI a", "LSI b", "rank a", "rank b"):
        differing.add_column(name, justify="right")
    for row in to_records(agreement.table.head(n_extremes)):
        numbers = (f"{row['lsi_a']:.2e}", f"{row['lsi_b']:.2e}", f"{row['rank_a']:,}", f"{row['rank_b']:,}")
        differing.add_row(Text(str(row["id"])), Text(str(row["label"])), *numbers)
    console.print(differing)


def agreement_as_dict(agreement: Agreement, n_extremes: int) -> dict[str, Any]:
    """What `print_agreement` shows, as plain JSON values."""
    numbers = {name: getattr(agreement, name) for name in ("spearman", "pearson", "pearson_log")}
    return {
        "n_common": agreement.n_common,
        "same_data": agreement.same_data,
        **{name: None if np.isnan(value) else value for name, value in numbers.items()},
        "top_shared": {f"{fraction:.0%}": share for fraction, share in agreement.top_shared.items()},
        "differ_most": to_records(agreement.table.head(n_extremes)),
    }


def duration(seconds: float) -> str:
    """In words."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "1 s"


def _summary_table(summary: pd.DataFrame) -> Table:
    table = Table(title="By class, ordered by median LSI (nats)", title_justify="left")
    table.add_column("label", min_width=12, overflow="fold")
    for name in BY_CLASS:
        table.add_column(CLASSES[name].heading, justify="right", no_wrap=True)
    table.caption = "curvature: share of lsi_curvature; doubted: labels that leave-one-out contradicts"
    table.caption_justify = "left"
    classes = summary.iloc[:-1]
    shown = (
        classes.index
        if len(classes) <= CLASSES_SHOWN
        else [*classes.index[: CLASSES_SHOWN // 2], *classes.index[-CLASSES_SHOWN // 2 :]]
    )
    for position, (label, row) in enumerate(summary.iterrows()):
        if position < len(classes) and label not in set(shown):
            continue
        last = position == len(summary) - 1
        cells = [CLASSES[name].show(row[name]) for name in BY_CLASS]
        table.add_row(Text(str(label)), *cells, style="bold" if last else None)
    if len(classes) > CLASSES_SHOWN:
        table.caption += f"; {len(classes) - CLASSES_SHOWN} classes in the middle are left out; 'lapsi export' has all"
    return table


def samples_table(title: str, columns: list[Column], rows: pd.DataFrame) -> Table:
    """A row a sample; numbers to the right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.is_number else "left", overflow="fold")
    for row in to_records(rows[[column.name for column in columns]]):
        table.add_row(*(Text(column.show(row[column.name])) for column in columns))
    return table


def _probe(settings: Settings) -> str:
    """E.g. "linear probe" or "mlp 64, 32"."""
    hidden = settings.model.hidden
    return f"mlp {', '.join(map(str, hidden))}" if hidden else "linear probe"


def _accuracy_line(verification: dict[str, Any] | None) -> Text:
    if verification is None:
        return Text("Accuracy: not verified (--verify 0)", style="yellow")
    reference = verification["reference"]
    text = (
        f"Accuracy: checked {len(verification['rows'])} samples against {REFERENCES.get(reference, 'a reference')} "
        f"({reference}): largest relative error {verification['max_relative_error']:.1e}, "
        f"median {verification['median_relative_error']:.1e}"
    )
    dense = verification.get("max_relative_error_exact")
    if dense is not None:
        text += f"; against the exact value, other samples' curvature included: {dense:.1e}"
    if verification["max_relative_error"] > POOR_ACCURACY:
        return Text(f"{text}. That is poor: try --dtype float64, a larger weight decay or a calmer recipe.", style="bold red")
    return Text(text)


def _seconds_line(seconds: dict[str, float]) -> Text:
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return Text(f"Seconds: {sum(seconds.values()):.1f} ({parts})")
