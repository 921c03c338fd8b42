"""`lapsi report`: a run as one HTML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lapsi.cli.options import Force, Quiet
from lapsi.report.page import ReportSummary, write_report
from lapsi.runs import write_file
from lapsi.scores import Scores


def report(
    run: Annotated[Path, typer.Argument(help="Run directory written by 'lapsi score'.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write; default: RUN.html.")] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one HTML file to look at, filter and review; it needs no server and no network."""
    scores = Scores.load(run)
    place = Path(os.path.abspath(run))
    target = place.with_name(f"{place.name}.html") if output is None else output
    summary = _write(scores, target, force)
    if not quiet:
        Console().print(_told(summary, target), soft_wrap=True, markup=False, highlight=False)


def _write(scores: Scores, target: Path, force: bool) -> ReportSummary:
    """The one place where raw samples and features come in."""
    summaries = []
    write_file(target, lambda path: summaries.append(write_report(scores, path, content=None)), force)
    return summaries[0]


def _told(summary: ReportSummary, target: Path) -> str:
    shown = f"{summary.n_shown:,} samples"
    if summary.n_shown < summary.n_samples:
        shown = f"{summary.n_shown:,} of {summary.n_samples:,} samples"
    pictures = f", {summary.n_pictures:,} with a picture" if summary.n_pictures else ""
    unreadable = f" ({summary.n_unreadable:,} images not found or unreadable)" if summary.n_unreadable else ""
    return f"{shown}{pictures}{unreadable} to {target} ({summary.n_bytes / 1e6:.1f} MB); open it in a browser."
