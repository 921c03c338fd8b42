"""`lapsi report`: a run as one HTML file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lapsi.cli.data import Raw, reopen_features, reopen_raw, rows_of
from lapsi.cli.options import Force, Quiet, Run
from lapsi.data.samples import TEXT
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages
from lapsi.report.maps import umap_map
from lapsi.report.page import ReportSummary, write_report
from lapsi.results.scores import Scores

LAYOUTS = ("pca", "umap")


def report(
    run: Run,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write; default: RUN.html.")] = None,
    layout: Annotated[
        str, typer.Option("--map", metavar="|".join(LAYOUTS), help="How the features are laid out in the plane.")
    ] = "pca",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one HTML file to look at, filter and review; it needs no server and no network."""
    scores = Scores.load(run)
    place = Path(os.path.abspath(run))
    target = place.with_name(f"{place.name}.html") if output is None else output
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{target.name} is a file of kind {target.suffix or '(none)'!r}; expected .html.")
    require_file_free(target, force)
    if layout not in LAYOUTS:
        raise InputError(f"--map is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    stages = Stages(not quiet)
    if layout == "umap":
        dataset = reopen_features(scores, stages)
        with stages.stage("umap"):
            scores = replace(scores, map=umap_map(dataset.features.read(rows_of(scores, dataset.ids))))
    summary = _write(scores, target, layout, stages, force)
    if not quiet:
        Console().print(_told(summary, target), soft_wrap=True, markup=False, highlight=False)


def _write(scores: Scores, target: Path, layout: str, stages: Stages, force: bool) -> ReportSummary:
    raw = _raw(scores, stages)
    summaries = []

    def write(path: Path) -> None:
        summary = write_report(
            scores, path, content=raw.content, positions=raw.positions, features=raw.features, map_name=layout.upper()
        )
        summaries.append(summary)

    with stages.stage("report"):
        write_file(target, write, force)
    return summaries[0]


def _raw(scores: Scores, stages: Stages) -> Raw:
    """The raw samples, where their source is still there; paths and texts that the run keeps do without it."""
    try:
        raw = reopen_raw(scores)
    except InputError as error:
        if stages.show and not {"path", "text"} & set(scores.table.columns):
            Console(stderr=True, soft_wrap=True).print(f"There will be no pictures. {error}", style="yellow", markup=False)
        return Raw()
    # texts may have been changed on purpose since: the run knows those that were scored
    return Raw() if raw.content is not None and raw.content.kind == TEXT else raw


def _told(summary: ReportSummary, target: Path) -> str:
    shown = f"{summary.n_shown:,} samples"
    if summary.n_shown < summary.n_samples:
        shown = f"{summary.n_shown:,} of {summary.n_samples:,} samples"
    pictures = f", {summary.n_pictures:,} with a picture" if summary.n_pictures else ""
    unreadable = f" ({summary.n_unreadable:,} images not found or unreadable)" if summary.n_unreadable else ""
    return f"{shown}{pictures}{unreadable} to {target} ({summary.n_bytes / 1e6:.1f} MB); open it in a browser."
