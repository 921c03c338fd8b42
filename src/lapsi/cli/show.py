"""How runs look in a terminal, and as JSON."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lapsi.plan import GIB, Plan
from lapsi.scores import Scores

CLASSES_SHOWN = 40


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
    """Rows as plain JSON values; missing values as None."""
    rows = table.astype(object).where(table.notna(), None).to_numpy()
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def print_run(scores: Scores, n_extremes: int, console: Console) -> None:
    """Summary by class, both ends of the ranking, accuracy and time."""
    provenance = scores.provenance
    console.print(
        f"[bold]{len(scores):,} of {provenance.n_samples:,} samples[/] from [cyan]{escape(provenance.source)}[/]: "
        f"{provenance.n_features} features, {provenance.n_classes} classes; {provenance.settings['curvature']} curvature, "
        f"weight decay {provenance.settings['weight_decay']:g}; train accuracy {provenance.train_accuracy:.1%}"
    )
    console.print(_summary_table(scores.summary()))
    ranking = scores.ranking()
    console.print(_extremes_table("Most informative: atypical, hard or mislabelled", ranking.head(n_extremes)))
    console.print(_extremes_table("Least informative: typical, redundant", ranking.tail(n_extremes)[::-1]))
    console.print(Group(_accuracy_line(provenance.verification), _seconds_line(provenance.seconds)))


def print_plan(plan: Plan, seconds: float, console: Console) -> None:
    """What a run will cost."""
    table = Table(title="Plan (nothing was run or written)", title_justify="left", show_header=False)
    table.add_row("engine", plan.engine)
    table.add_row("peak memory", f"{plan.peak_bytes / GIB:.2f} GiB (limit {plan.limit_bytes / GIB:.2f} GiB)")
    table.add_row("time", f"about {seconds:.0f} s on this machine")
    table.add_row("work", f"{sum(plan.flop.values()):.2e} flop")
    table.add_row("converged" if plan.converges else "corrected by neighbours", f"{plan.n_refined:,} samples")
    console.print(table)


def plan_as_dict(plan: Plan, seconds: float) -> dict[str, Any]:
    """What `print_plan` shows, as plain JSON values."""
    return {
        "engine": plan.engine,
        "peak_bytes": plan.peak_bytes,
        "limit_bytes": plan.limit_bytes,
        "seconds": seconds,
        "flop": plan.flop,
        "n_refined": plan.n_refined,
        "converges": plan.converges,
    }


def _summary_table(summary: pd.DataFrame) -> Table:
    table = Table(title="By class, ordered by median LSI (nats)", title_justify="left")
    table.add_column("label", min_width=12, overflow="fold")
    for name in ("samples", "median", "max", "curvature", "LOO acc.", "doubted"):
        table.add_column(name, justify="right", no_wrap=True)
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
        cells = [f"{int(row['samples']):,}", *(f"{row[name]:.1e}" for name in ("lsi_median", "lsi_max"))]
        cells += [f"{row['curvature_share']:.1%}", f"{row['loo_accuracy']:.1%}", f"{int(row['contradicted']):,}"]
        table.add_row(Text(str(label)), *cells, style="bold" if last else None)
    if len(classes) > CLASSES_SHOWN:
        table.caption += f"; {len(classes) - CLASSES_SHOWN} classes in the middle are left out; 'lapsi export' has all"
    return table


def _extremes_table(title: str, rows: pd.DataFrame) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("id", "label"):
        table.add_column(name)
    for name in ("LSI", "LOO probability", "quality"):
        table.add_column(name, justify="right")
    table.add_column("suggested")
    for row in to_records(rows):
        suggested = "" if row["suggested_label"] is None else str(row["suggested_label"])
        numbers = (f"{row['lsi']:.2e}", f"{row['loo_probability']:.3f}", f"{row['label_quality']:.2f}")
        table.add_row(Text(str(row["id"])), Text(str(row["label"])), *numbers, Text(suggested))
    return table


def _accuracy_line(verification: dict[str, Any] | None) -> Text:
    if verification is None:
        return Text("Accuracy: not verified (--verify 0)", style="yellow")
    text = (
        f"Accuracy: checked {len(verification['rows'])} samples against converged leave-one-out optima "
        f"({verification['reference']}): largest relative error {verification['max_relative_error']:.1e}, "
        f"median {verification['median_relative_error']:.1e}"
    )
    dense = verification.get("max_relative_error_exact")
    if dense is not None:
        text += f"; against the exact value, other samples' curvature included: {dense:.1e}"
    return Text(text)


def _seconds_line(seconds: dict[str, float]) -> Text:
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return Text(f"Seconds: {sum(seconds.values()):.1f} ({parts})")
