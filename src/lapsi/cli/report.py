"""`lapsi report`: a run as one HTML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lapsi.cli.reopen import Raw, reopen_raw, rows_of
from lapsi.cli.terminal import say, told
from lapsi.data.samples import TEXT
from lapsi.data.standardize import standardizer_of
from lapsi.errors import InputError
from lapsi.execution.files import write_file
from lapsi.execution.progress import Stages
from lapsi.report.columns import values_shown
from lapsi.report.maps import class_map, umap_map
from lapsi.report.page import ReportSummary, write_report
from lapsi.results.scores import Scores
from lapsi.settings.settings import settings_from_dict
from lapsi.settings.task import CLASSES, PAIRS

PCA, BY_CLASS, UMAP = "pca", "classes", "umap"
NAMED = {PCA: "PCA", BY_CLASS: "discriminants of the classes", UMAP: "UMAP"}
FROM_PYTHON = (
    "There will be no pictures: the run was saved from Python, so its data are not known here. There "
    "lapsi.load_run(RUN).report('run.html', features=X) sketches them."
)


def report(run: Path, target: Path, layout: str, force: bool, quiet: bool) -> None:
    """Writes a run as one HTML file, `target`."""
    scores = Scores.load(run)
    stages = Stages(not quiet)
    if layout == BY_CLASS and scores.task != CLASSES:
        raise InputError(f"--map {BY_CLASS} is for samples of one class each, and this run is of {scores.task}; leave it out.")
    if layout != PCA:
        scores = _laid_out(scores, layout, stages)
    summary = _write(scores, target, layout, stages, force)
    if not quiet:
        with told(target):
            say(_in_words(summary, target, scores.task))


def _laid_out(scores: Scores, layout: str, stages: Stages) -> Scores:
    """With another map of the features, kept with the run or made again as they were."""
    inputs = _made_again(scores, stages) if scores.features is None else scores.features
    with stages.stage("map"):
        found = class_map(inputs, scores.label_codes) if layout == BY_CLASS else umap_map(inputs)
        return replace(scores, map=found)


def _made_again(scores: Scores, stages: Stages) -> np.ndarray:
    """(n, d) features as the probe read them."""
    from lapsi.cli.data import reopen_features  # all else of a report needs no torch

    dataset = reopen_features(scores, stages)
    standardizer = standardizer_of(dataset.survey, settings_from_dict(scores.provenance.settings).model.standardize)
    return standardizer.inputs(dataset.features.read(rows_of(scores, dataset.ids)))[:, :-1]


def _write(scores: Scores, target: Path, layout: str, stages: Stages, force: bool) -> ReportSummary:
    raw = _raw(scores, stages)
    summaries = []

    def write(path: Path) -> None:
        summary = write_report(
            scores, path, content=raw.content, positions=raw.positions, features=raw.features, map_name=NAMED[layout]
        )
        summaries.append(summary)

    with stages.stage("report"):
        write_file(target, write, force)
    return summaries[0]


def _raw(scores: Scores, stages: Stages) -> Raw:
    """The raw samples, where their source is still there; paths, texts and columns that the run keeps do without it."""
    if values_shown(scores):
        return Raw()
    if not scores.provenance.data and not scores.provenance.factory and not {"path", "text"} & set(scores.table.columns):
        if stages.show:
            say(FROM_PYTHON, "yellow", error=True)
        return Raw()
    try:
        raw = reopen_raw(scores)
    except InputError as error:
        if stages.show and not {"path", "text"} & set(scores.table.columns):
            say(f"There will be no pictures. {error}", "yellow", error=True)
        return Raw()
    # texts may have been changed on purpose since: the run knows those that were scored
    return Raw() if raw.content is not None and raw.content.kind == TEXT else raw


def _in_words(summary: ReportSummary, target: Path, task: str) -> str:
    shown = f"{summary.n_shown:,} samples"
    if summary.n_shown < summary.n_samples:
        shown = f"{summary.n_shown:,} of {summary.n_samples:,} samples"
    pictures = f", {summary.n_pictures:,} with a picture" if summary.n_pictures else ""
    elsewhere = "; score-pairs takes where they lie as --image-folder" if task == PAIRS else ""
    unreadable = f" ({summary.n_unreadable:,} images not found or unreadable{elsewhere})" if summary.n_unreadable else ""
    return f"{shown}{pictures}{unreadable} to {target} ({summary.n_bytes / 1e6:.1f} MB); open it in a browser."
