"""The report of a run: one HTML file that needs no server, no network and nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lapsi.errors import InputError
from lapsi.report.columns import MEASURES, RANKS, as_strings, embed_columns, to_script
from lapsi.report.quadrants import MEANINGS, NAMES, find_quadrants
from lapsi.report.thumbnails import (
    NO_PICTURES,
    Pictures,
    collect_images,
    content_pictures,
    feature_sketches,
    file_pictures,
    gallery_order,
)
from lapsi.report.words import Words, describe
from lapsi.samples import IMAGE, TEXT, Content
from lapsi.scores import COLUMNS, Scores

TEMPLATE, STYLE = "page.html", "page.css"
SCRIPTS = ("base", "data", "filters", "review", "plot", "histogram", "classes", "points", "pictures", "table", "gallery", "detail")
TEXT_LIMITS = (600, 300, 150, 80)
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """The samples that the page holds: positions in the table (k,), their JSON, and characters kept of each text."""

    positions: np.ndarray
    script: str
    text_limit: int | None


def write_report(
    scores: Scores,
    path: Path,
    *,
    content: Content | None = None,
    positions: np.ndarray | None = None,
    features: np.ndarray | None = None,
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
    _check(scores, content, positions, features)
    at = np.arange(len(scores)) if positions is None else np.asarray(positions)
    words, texts = describe(scores), _texts(scores, content, at)
    page = _Page(scores, words, map_name)
    room = max_bytes - len(page.render("", "", []).encode()) - SPARE
    pictured = (content is not None and content.kind == IMAGE) or "path" in scores.table or features is not None
    rows = _fit_rows(scores, texts, int(room * (SHARE_OF_COLUMNS if pictured else 1)), max_bytes)
    pictures = _pictures(scores, rows.positions, room - len(rows.script.encode()), content, at, texts, features)
    numbers = {int(row): place for place, row in enumerate(rows.positions)}
    notes = _notes(scores, rows, pictures, texts)
    document = page.render(rows.script, to_script(pictures.embed(numbers)), notes).encode()
    path.write_bytes(document)
    return ReportSummary(
        len(scores), len(rows.positions), pictures.kind, len(pictures.rows), pictures.unreadable, len(document)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    scores: Scores
    words: Words
    map_name: str

    def render(self, columns: str, pictures: str, notes: list[str]) -> str:
        """The document. Scripts and styles are allowed by their hashes only, so that nothing else ever runs."""
        style, script = asset(STYLE), page_script()
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(asset(TEMPLATE)).render(
            words=self.words,
            source=self.scores.provenance.source,
            created=self.scores.provenance.created,
            has_map=self.scores.map is not None,
            map_name=self.map_name,
            quadrants=list(zip(NAMES, MEANINGS, strict=True)),
            notes=notes,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            about=Markup(to_script(self._about())),
            columns=Markup(columns),
            pictures=Markup(pictures),
        )

    def _about(self) -> dict[str, Any]:
        provenance, lines = self.scores.provenance, find_quadrants(self.scores)
        return {
            "key": f"{provenance.data_hash}:{provenance.created}",
            "hash": provenance.data_hash,
            "source": provenance.source,
            "measures": {name: [title, COLUMNS[name]] for name, title in (MEASURES | RANKS).items()},
            "quadrants": {"lsi": lines.lsi, "margin": lines.margin, "names": NAMES, "meanings": MEANINGS},
            "spread": _spread(self.scores),
            "median": float(np.median(self.scores.lsi)),
        }


def asset(name: str) -> str:
    """The text of a file that the page is made of."""
    return files("lapsi.report").joinpath("assets", name).read_text(encoding="utf-8")


def page_script() -> str:
    """The program of the page: its files, one after the other, in one function."""
    return "(() => {\n'use strict';\n" + "\n".join(asset(f"{name}.js") for name in (*SCRIPTS, "page")) + "})();"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _check(scores: Scores, content: Content | None, positions: np.ndarray | None, features: np.ndarray | None) -> None:
    if not np.isfinite(scores.lsi).all():
        raise InputError("The run holds LSI that is not finite; score its data again.")
    if content is not None:
        n = len(scores) if positions is None else len(positions)
        last = n - 1 if positions is None else int(np.max(positions, initial=0))
        if n != len(scores) or last >= len(content):
            raise InputError(
                f"{len(scores)} samples were scored, but {n} positions were given, the last {last}, in {len(content)} raw "
                "samples; expected one position for each scored sample."
            )
    if features is not None and (features.ndim != 2 or len(features) != len(scores)):
        raise InputError(f"The features have shape {features.shape}; expected ({len(scores)}, d), a row for each scored sample.")


def _texts(scores: Scores, content: Content | None, positions: np.ndarray) -> list[str] | None:
    if content is not None and content.kind == TEXT:
        return [content.decode(content.read(int(place))) for place in positions]
    return as_strings(scores.table["text"]) if "text" in scores.table else None


def _fit_rows(scores: Scores, texts: list[str] | None, room: int, max_bytes: int) -> _Rows:
    """All samples with texts as long as the room allows; where even short ones do not fit, both ends and a random choice."""
    everything = np.arange(len(scores))
    limits = TEXT_LIMITS if texts is not None and max(map(len, texts), default=0) > TEXT_LIMITS[-1] else TEXT_LIMITS[:1]
    for limit in limits:
        script = to_script(embed_columns(scores, everything, texts, limit))
        if len(script.encode()) <= room:
            return _Rows(everything, script, limit)
    n_rows = len(scores)
    while True:
        n_rows = min(n_rows - 1, int(0.98 * n_rows * room / len(script.encode())))
        if n_rows < 1:
            raise InputError(f"max_bytes is {max_bytes:,}, too little for the page; expected at least 1,000,000.")
        chosen = np.sort(np.fromiter(islice(gallery_order(scores, everything), n_rows), np.int64))
        script = to_script(embed_columns(scores, chosen, None if texts is None else [texts[row] for row in chosen], limit))
        if len(script.encode()) <= room:
            return _Rows(chosen, script, limit)


def _pictures(
    scores: Scores,
    rows: np.ndarray,
    budget: int,
    content: Content | None,
    positions: np.ndarray,
    texts: list[str] | None,
    features: np.ndarray | None,
) -> Pictures:
    if content is not None and content.kind == IMAGE:
        return collect_images(gallery_order(scores, rows), content_pictures(content, positions), len(rows), budget)
    found = NO_PICTURES
    if content is None and "path" in scores.table:
        found = collect_images(
            gallery_order(scores, rows), file_pictures(as_strings(scores.table["path"])), len(rows), budget
        )
    if found.rows or texts is not None or features is None:
        return found
    return feature_sketches(features, gallery_order(scores, rows), budget)


def _notes(scores: Scores, rows: _Rows, pictures: Pictures, texts: list[str] | None) -> list[str]:
    """What was left out, in plain words."""
    notes = []
    n_shown, n_pictures = len(rows.positions), len(pictures.rows)
    if n_shown < len(scores):
        notes.append(
            f"To keep this file small it holds {n_shown:,} of {len(scores):,} samples: both ends of the ranking, overall and by "
            "class, and a random choice of the rest. Figures, sentences and classes describe all of them."
        )
    kind = "thumbnail" if pictures.kind == "image" else "sketch of the features"
    if pictures.kind != "none" and n_pictures + pictures.unreadable < n_shown:
        notes.append(
            f"{n_pictures:,} of {n_shown:,} samples have a {kind}, to keep this file small: those at both ends of the ranking, "
            "overall and by class, those with the least trusted labels, and a random choice of the rest."
        )
    elif n_pictures:
        notes.append(f"{n_pictures:,} of {n_shown:,} samples have a {kind}.")
    if pictures.unreadable:
        notes.append(f"{pictures.unreadable:,} images were not found or could not be read; their places stay empty.")
    if texts is not None and rows.text_limit is not None and max(map(len, texts), default=0) > rows.text_limit:
        notes.append(f"Texts are cut after {rows.text_limit:,} characters.")
    if texts is None and not n_pictures:
        notes.append("The raw samples were not at hand, so the galleries show ids and labels only.")
    return notes


def _spread(scores: Scores) -> list[list[float] | None]:
    """Number of samples, smallest, quantiles and largest LSI of every class; None for a class without scored samples."""
    codes, lsi = scores.label_codes, scores.lsi
    parts = [lsi[codes == code] for code in range(len(scores.classes))]
    return [
        [float(len(part)), float(part.min()), *np.quantile(part, QUANTILES).tolist(), float(part.max())] if len(part) else None
        for part in parts
    ]
