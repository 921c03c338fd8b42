"""The report of a run: one HTML file that needs no server, no network and nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lapsi.data.blocks import ArrayBlocks, Blocks
from lapsi.data.samples import IMAGE, Content
from lapsi.errors import InputError
from lapsi.report.columns import page_measures, values_shown
from lapsi.report.kinds.base import View
from lapsi.report.kinds.choose import view_of
from lapsi.report.packing import to_script
from lapsi.report.room import choose_pictures, fit_rows, notes_on, sample_texts
from lapsi.report.words import Words, describe
from lapsi.results.columns import WHOLE
from lapsi.results.loss_curve import loss_curve
from lapsi.results.regularization import Regularization, chosen_of
from lapsi.results.scores import Scores

TEMPLATE, STYLE = "page.html", "page.css"
TARGETS = "targets"  # stands for what the targets of the run need
SCRIPTS = (
    "base",
    "data",
    TARGETS,
    "filters",
    "kept",
    "review",
    "plot",
    "histogram",
    "classes",
    "points",
    "standing",
    "pictures",
    "table",
    "gallery",
    "detail",
)
SHARE_OF_COLUMNS = 0.6  # of the room, where there are pictures as well
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SPARE = 4096  # bytes for what is said about the pictures


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What a report holds.

    Attributes:
        n_samples: scored samples of the run.
        n_shown: those on the page; fewer only where the page would grow beyond its limit.
        pictures: "image", "pixels" or "bars" (sketches of features), or "none".
        n_pictures: samples that have one.
        n_unreadable: samples whose image was tried and is missing or damaged.
        n_bytes: size of the file.
    """

    n_samples: int
    n_shown: int
    pictures: str
    n_pictures: int
    n_unreadable: int
    n_bytes: int


def write_report(
    scores: Scores,
    path: str | Path,
    *,
    content: Content | None = None,
    positions: np.ndarray | None = None,
    features: np.ndarray | Blocks | None = None,
    map_name: str = "PCA",
    max_bytes: int = 25_000_000,
) -> ReportSummary:
    """Writes the report of a run to one self-contained HTML file.

    Args:
        scores: the run.
        path: the file; overwritten where it exists.
        content: the raw images or texts; None takes images from the column `path` and texts from the column `text`.
        positions: (n,) position in `content` of each row of the scores; None where they are the same.
        features: (n, d) of the rows of the scores, sketched where there are neither images nor texts.
        map_name: how `scores.map` was made, for its title.
        max_bytes: limit of the file; pictures, then ends of texts, then samples in the middle are left out to keep it.

    Raises:
        InputError: when LSI is not finite, shapes do not agree, or the limit leaves no room for the samples.
    """
    lying = features if features is None or isinstance(features, Blocks) else ArrayBlocks(features)
    _check(scores, content, positions, lying)
    infinite, scores = scores.infinite_in_words, scores.as_drawn()
    at = np.arange(len(scores)) if positions is None else np.asarray(positions)
    words, texts = describe(scores), sample_texts(scores, content, at)
    page = _Page(scores, view_of(scores), words, map_name)
    room = max_bytes - len(page.render("", "", [infinite]).encode("utf-8", "replace")) - SPARE
    pictured = (content is not None and content.kind == IMAGE) or "path" in scores.table or features is not None
    rows = fit_rows(scores, texts, int(room * (SHARE_OF_COLUMNS if pictured else 1)), max_bytes)
    pictures = choose_pictures(scores, rows.positions, room - len(rows.script.encode()), content, at, texts, lying)
    numbers = {int(row): place for place, row in enumerate(rows.positions)}
    notes = notes_on(scores, rows, pictures, texts)
    notes += [f"{infinite}. They stand here at the largest finite LSI."] if infinite else []
    document = page.render(rows.script, to_script(pictures.embed(numbers)), notes).encode("utf-8", "replace")
    Path(path).write_bytes(document)
    return ReportSummary(
        len(scores), len(rows.positions), pictures.kind, len(pictures.rows), pictures.unreadable, len(document)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    scores: Scores
    view: View
    words: Words
    map_name: str

    @property
    def chosen(self) -> Regularization | None:
        return chosen_of(self.scores.provenance.regularization)

    def render(self, columns: str, pictures: str, notes: list[str]) -> str:
        """The document. Scripts and styles are allowed by their hashes only, so that nothing else ever runs."""
        style, script = asset(STYLE), page_script(self.view)
        kinds = self.view.quadrants(self.scores).kinds
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(asset(TEMPLATE)).render(
            words=self.words,
            source=self.scores.provenance.source,
            created=self.scores.provenance.created,
            has_map=self.scores.map is not None,
            map_name=self.map_name,
            say=self.view.phrases(self.scores.outputs),
            has_fit="fit" in self.view.scripts,
            outputs=self.scores.outputs.astype(str).tolist(),
            quadrants=list(zip(kinds.names, kinds.meanings, strict=True)),
            quadrants_note=kinds.note,
            notes=notes,
            cautions=self.scores.cautions,
            loss_curve=Markup("" if self.chosen is None else loss_curve(self.chosen)),
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            about=Markup(to_script(self._about())),
            columns=Markup(columns),
            pictures=Markup(pictures),
        )

    def _about(self) -> dict[str, Any]:
        provenance = self.scores.provenance
        return {
            "key": f"{provenance.data_hash}:{provenance.created}",
            "hash": provenance.data_hash,
            "source": provenance.source,
            "measures": {
                column.name: [column.title, column.help, column.format == WHOLE] for column in page_measures(self.scores)
            },
            "quadrants": self.view.quadrants(self.scores).embed(),
            "spread": _spread(self.scores),
            "median": float(np.median(self.scores.lsi)),
            "values": values_shown(self.scores),
            "noise": max(provenance.noise_floor.values(), default=0.0),
        }


def asset(name: str) -> str:
    """The text of a file that the page is made of."""
    return files("lapsi.report").joinpath("assets", name).read_text(encoding="utf-8")


def page_script(view: View) -> str:
    """The program of the page: its files, one after the other, in one function."""
    names = [each for name in (*SCRIPTS, "page") for each in (view.scripts if name == TARGETS else (name,))]
    return "(() => {\n'use strict';\n" + "\n".join(asset(f"{name}.js") for name in names) + "})();"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _check(scores: Scores, content: Content | None, positions: np.ndarray | None, features: Blocks | None) -> None:
    if not np.isfinite(scores.lsi).all() and not scores.may_be_infinite:
        raise InputError("The run holds LSI that is not finite; score its data again.")
    if content is not None:
        n = len(scores) if positions is None else len(positions)
        last = n - 1 if positions is None else int(np.max(positions, initial=0))
        if n != len(scores) or last >= len(content):
            raise InputError(
                f"{len(scores)} samples were scored, but {n} positions were given, the last {last}, in {len(content)} raw "
                "samples; expected one position for each scored sample."
            )
    if features is not None and (len(features.shape) != 2 or len(features) != len(scores)):
        raise InputError(
            f"The features have shape {features.shape}; expected ({len(scores)}, d), a row for each scored sample."
        )


def _spread(scores: Scores) -> list[list[float] | None]:
    """Number of samples, smallest, quantiles and largest LSI of every part; None for one without scored samples."""
    parts = [scores.lsi[rows] for _, rows in scores.evidence.parts(scores.table, scores.outputs)]
    return [
        [float(len(part)), float(part.min()), *np.quantile(part, QUANTILES).tolist(), float(part.max())] if len(part) else None
        for part in parts
    ]
