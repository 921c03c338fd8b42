"""How runs look in a terminal, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group
from rich.text import Text

from lapsi.analysis.checks.told import findings, in_a_line
from lapsi.cli.listing import Heading, Listing
from lapsi.cli.terminal import cell, say
from lapsi.results.columns import Column
from lapsi.results.noise import noise_in_words, share_below_noise
from lapsi.results.provenance import Provenance
from lapsi.results.regularization import chosen_of
from lapsi.results.scores import Scores
from lapsi.results.verification import TRAINED_ON, TRUSTED, ranking_in_words
from lapsi.settings.engine import Local, Newton
from lapsi.settings.network import NetworkSettings
from lapsi.settings.pairs import PairSettings
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings
from lapsi.settings.task import CLASSES, MULTILABEL, PAIRS, REGRESSION, TOKENS

CLASSES_SHOWN = 40
LISTED_AT_MOST = 10
WORDS = {CLASSES: "class", MULTILABEL: "label", REGRESSION: "target"}
PLURALS = {"class": "classes", "label": "labels", "target": "targets"}
POOR_ACCURACY = 0.05
NOT_SHOWN = "lsi_mean"  # of the summary
REFERENCES = {
    "exact": "converged leave-one-out optima",
    "removal form": "converged leave-one-out optima",
    "trained alone": "one model each, in float64 without differences",
}
BELOW_NOISE = 0.1
BY_DRAW = ("suspected", "random")


def run_as_dict(scores: Scores, n_extremes: int) -> dict[str, Any]:
    """What `print_run` shows, as plain JSON values."""
    provenance, ranking = scores.provenance, scores.ranking()
    extremes = {"most_informative": ranking.head(n_extremes), "least_informative": ranking.tail(n_extremes)[::-1]}
    return {
        "n_scored": len(scores),
        "n_infinite": scores.n_infinite,
        "n_samples": provenance.n_samples,
        "settings": provenance.settings,
        "engine": provenance.engine,
        "task": provenance.task,
        "train_accuracy": provenance.train_accuracy,
        "train_r2": provenance.train_r2,
        "train_perplexity": provenance.train_perplexity,
        "seconds": provenance.seconds,
        "cautions": scores.cautions,
        "verification": provenance.verification,
        "regularization": provenance.regularization,
        "findings": findings(scores).to_dict("records"),
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
    settings = stored_settings(provenance.settings)
    number = (f"{len(scores):,} of {provenance.n_samples:,} samples", "bold")
    line = Text.assemble(number, " from ", cell(provenance.source, "cyan"), ": ")
    line.append(f"{_size(provenance, settings)}, {outputs_in_words(provenance.n_classes, provenance.task)}; ")
    line.append(cell(f"{settings.model_in_words}, "))
    line.append(cell(f"engine {provenance.engine}, {settings.curvature} curvature, "))
    line.append("" if settings.order == 1 else f"Rényi divergence of order {settings.order:g}, ")
    line.append(f"weight decay {settings.objective.weight_decay:g}; {fit_in_words(provenance)}")
    console.print(line)
    console.print(_summary_table(scores))
    ranking, known = scores.ranking(), {column.name: column for column in scores.columns}
    columns = [known[name] for name in ("id", "label", "lsi", *scores.evidence.shown)]
    console.print(samples_table(f"Most informative: {scores.evidence.atypical}", columns, ranking.head(n_extremes)))
    console.print(samples_table("Least informative: typical, redundant", columns, ranking.tail(n_extremes)[::-1]))
    chosen = chosen_of(provenance.regularization)
    told = [] if chosen is None else [Text(f"Regularisation: {chosen.sentence()}.")]
    lines = [
        *map(caution_line, scores.cautions),
        _accuracy_line(provenance.verification),
        *_above_lines(provenance, settings),
        *_infinite_lines(scores),
        *_noise_lines(scores),
        *_draw_lines(scores),
        *_feature_lines(scores),
        *_check_lines(scores),
    ]
    lines.append(_seconds_line(provenance.seconds))
    console.print(Group(*told, *lines))


def caution_line(said: str) -> Text:
    """Where the scores cannot mean much."""
    return cell(f"Caution: {said}", "yellow")


def tell_run(scores: Scores, n_extremes: int, quiet: bool, as_json: bool, left_out: pd.DataFrame | None = None) -> None:
    """Shows a run as JSON or as tables, or not at all; `left_out`: samples that could not be read, for the JSON."""
    if as_json:
        bad = {} if left_out is None or len(left_out) == 0 else {"left_out": to_records(left_out)}
        print(json.dumps(run_as_dict(scores, n_extremes) | bad, indent=2, default=to_json))
    elif not quiet:
        print_run(scores, n_extremes, Console())


def tell_left_out(left_out: pd.DataFrame) -> None:
    """Samples (n rows: sample, reason) that could not be read."""
    if len(left_out) == 0:
        return
    say(f"{len(left_out):,} samples could not be read and were left out:", "yellow")
    for row in left_out.head(LISTED_AT_MOST).itertuples():
        say(f"  {row.sample} ({row.reason})", "yellow")
    if len(left_out) > LISTED_AT_MOST:
        say(f"  and {len(left_out) - LISTED_AT_MOST:,} more", "yellow")


def to_json(value: object) -> object:
    """What json cannot write by itself."""
    return value.item() if isinstance(value, np.generic) else str(value)


def outputs_in_words(n_outputs: int, task: str) -> str:
    """E.g. "10 classes"."""
    if task == TOKENS:
        return "a class for each token"
    if task == PAIRS:
        return "each other"
    word = WORDS[task]
    return f"{n_outputs:,} {word if n_outputs == 1 else PLURALS[word]}"


def fit_in_words(provenance: Provenance) -> str:
    """E.g. "train accuracy 98.3%": how well the model fits what it was trained on."""
    if provenance.train_accuracy is not None:
        return f"train accuracy {provenance.train_accuracy:.1%}"
    if provenance.train_perplexity is not None:
        return f"train perplexity {provenance.train_perplexity:.1f}"
    return "" if provenance.train_r2 is None else f"train R² {provenance.train_r2:.3f}"


def _summary_table(scores: Scores) -> Listing:
    summary, evidence = scores.summary(), scores.evidence
    by_class = {name: column for name, column in evidence.summary_columns.items() if name != NOT_SHOWN}
    goes_by = next(column.heading for column in scores.columns if column.name == evidence.rows_by)
    doubted = f"; doubted: {by_class['doubted'].help}" if "doubted" in by_class else ""
    caption = f"curvature: share of lsi_curvature{doubted}"
    left_out = len(summary) - 1 - CLASSES_SHOWN
    if left_out > 0:
        caption += f"; {left_out} {evidence.rows_are} in the middle are left out; 'lapsi export' has all"
        summary = pd.concat([summary.iloc[: CLASSES_SHOWN // 2], summary.iloc[-1 - CLASSES_SHOWN // 2 :]])
    rows = [[str(label), *(column.show(row[name]) for name, column in by_class.items())] for label, row in summary.iterrows()]
    headings = [Heading(evidence.rows_by, goes_by), *map(Heading.of, by_class.values())]
    return Listing(evidence.summary_title, headings, rows, caption, total=True)


def samples_table(title: str, columns: list[Column], rows: pd.DataFrame) -> Listing:
    """A row a sample; numbers to the right."""
    records = to_records(rows[[column.name for column in columns]])
    texts = [[column.show(record[column.name]) for column in columns] for record in records]
    return Listing(title, [Heading.of(column) for column in columns], texts)


def _size(provenance: Provenance, settings: Settings | NetworkSettings | PairSettings) -> str:
    """E.g. "512 features": what the model is large by."""
    if isinstance(settings, NetworkSettings):
        return f"{provenance.n_features:,} parameters"
    return f"{provenance.n_features} features"


def _accuracy_line(verification: dict[str, Any] | None) -> Text:
    if verification is None:
        return Text("Accuracy: not verified (--verify 0)", style="yellow")
    reference = verification["reference"]
    if verification.get("failure"):
        return cell(f"Accuracy: NOT measured, the check failed: {verification['failure']}", "bold red")
    if reference == TRAINED_ON:
        poor = (verification.get("spearman") or 0.0) < TRUSTED
        doubtful = "yellow" if verification.get("n_unfinished") else ""
        return Text(f"Accuracy: {ranking_in_words(verification)}", style="bold red" if poor else doubtful)
    text = (
        f"Accuracy: checked {len(verification['rows'])} samples against {REFERENCES.get(reference, 'a reference')} "
        f"({reference}): largest relative error {verification['max_relative_error']:.1e}, "
        f"median {verification['median_relative_error']:.1e}"
    )
    parts = [
        f"{name} rows {error:.1e}" for name in BY_DRAW if (error := verification.get(f"max_relative_error_{name}")) is not None
    ]
    text += f" (largest of {', of '.join(parts)})" if len(parts) > 1 else ""
    dense = verification.get("max_relative_error_exact")
    if dense is not None:
        text += f"; against the exact value, other samples' curvature included: {dense:.1e}"
    if verification["max_relative_error"] > POOR_ACCURACY:
        return cell(f"{text}. That is poor: try --dtype float64, a larger weight decay or a calmer recipe.", "bold red")
    return cell(text)


def _above_lines(provenance: Provenance, settings: Settings | NetworkSettings | PairSettings) -> list[Text]:
    """One where rows stay above the tolerance that was asked for."""
    n_above = provenance.plan.get("n_above")
    if not isinstance(settings.engine, Newton | Local) or not isinstance(n_above, int) or n_above == 0:
        return []
    return [
        Text(
            f"Tolerance: {n_above:,} rows stay above {settings.engine.tolerance:g}, as estimated (column lsi_error): refining "
            "them would have taken too long",
            style="yellow",
        )
    ]


def _infinite_lines(scores: Scores) -> list[Text]:
    """One where LSI is infinite of some samples."""
    return [Text(scores.infinite_in_words, style="yellow")] if scores.infinite_in_words else []


def _noise_lines(scores: Scores) -> list[Text]:
    """What training alone makes of LSI, where that was measured."""
    said = noise_in_words(scores)
    return [Text(said, style="" if share_below_noise(scores) <= BELOW_NOISE else "yellow")] if said else []


def _draw_lines(scores: Scores) -> list[Text]:
    """What is drawn of the curvature, and what that leaves open."""
    plan, table = scores.provenance.plan, scores.table
    said = []
    if "drawn_median" in plan:
        said.append(
            f"{plan['drawn_median']:.0%} of what bends the loss of a sample is made of drawn signs (median; "
            f"{plan['drawn_most']:.0%} at most), right on average"
        )
    if "lsi_draw_error" in table:
        said.append(f"standard error of LSI from what is drawn: {table['lsi_draw_error'].median():.1%} (median)")
    return [Text(f"Draws: {'; '.join(said)}.")] if said else []


def _feature_lines(scores: Scores) -> list[Text]:
    """What stands for a sample of a network on the map."""
    said = scores.provenance.features_in_words
    return [cell(f"Features (map, neighbours, checks): {said}.")] if said else []


def _check_lines(scores: Scores) -> list[Text]:
    """What checks found, where the run was checked."""
    line = in_a_line(scores)
    return [cell(f"Checks: {line}.")] if line else []


def _seconds_line(seconds: dict[str, float]) -> Text:
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return Text(f"Seconds: {sum(seconds.values()):.1f} ({parts})")


def show(run: Path, extremes: int, as_json: bool) -> None:
    """Shows a run that was saved."""
    tell_run(Scores.load(run), extremes, quiet=False, as_json=as_json)
