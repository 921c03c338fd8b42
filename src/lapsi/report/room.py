"""What fits into the page: which samples, how much of their texts, which pictures; and what was left out, in plain words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lapsi.data.blocks import Blocks
from lapsi.data.samples import IMAGE, TEXT, Content
from lapsi.errors import InputError
from lapsi.report.columns import embed_columns, values_shown
from lapsi.report.kinds.choose import view_of
from lapsi.report.markup import readable
from lapsi.report.packing import as_strings, to_script
from lapsi.report.thumbnails import (
    NO_PICTURES,
    Pictures,
    collect_images,
    content_pictures,
    feature_sketches,
    file_pictures,
    gallery_order,
)
from lapsi.results.scores import Scores

TEXT_LIMITS = (4000, 1500, 600, 300, 150, 80)  # characters kept of each text where they do not fit whole: the first that does
TRIED_ROWS = 20_000
FAR_BEYOND = 1.5  # times the room: what some samples take tells more than so exactly


@dataclass(frozen=True, slots=True)
class FittingRows:
    """The samples that the page holds: positions in the table (k,), their JSON, and characters kept of each text."""

    positions: np.ndarray
    script: str
    text_limit: int | None


def sample_texts(scores: Scores, content: Content | None, positions: np.ndarray) -> list[str] | None:
    """(n,) what the raw samples or the column `text` say, without marks of HTML; None where they are no texts."""
    if content is not None and content.kind == TEXT:
        texts = [content.decode(content.read(int(place))) for place in positions]
    elif "text" in scores.table:
        texts = as_strings(scores.table["text"])
    else:
        return None
    return list(map(readable, texts))


def fit_rows(scores: Scores, texts: list[str] | None, room: int, max_bytes: int) -> FittingRows:
    """All samples, texts whole or as long as the room allows; where short ones do not fit, both ends and a random choice."""
    everything = np.arange(len(scores))
    longest = 0 if texts is None else max(map(len, texts), default=0)
    limits = (longest, *(limit for limit in TEXT_LIMITS if limit < longest))

    def script_of(rows: np.ndarray, limit: int) -> str:
        return to_script(embed_columns(scores, rows, None if texts is None else [texts[row] for row in rows], limit))

    for limit in limits:
        tried = everything[:: max(1, len(scores) // TRIED_ROWS)]  # of many samples a part tells whether all are far too many
        script = script_of(tried, limit)
        if len(tried) < len(scores) and len(script.encode()) * len(scores) <= FAR_BEYOND * room * len(tried):
            tried, script = everything, script_of(everything, limit)
        if len(tried) == len(scores) and len(script.encode()) <= room:
            return FittingRows(everything, script, limit)
    chosen = tried
    while chosen is tried or len(script.encode()) > room:
        n_rows = min(len(scores) - 1, int(0.98 * len(chosen) * room / len(script.encode())))
        if n_rows < 1:
            raise InputError(f"max_bytes is {max_bytes:,}, too little for the page; expected at least 1,000,000.")
        chosen = np.sort(np.fromiter(islice(gallery_order(scores, everything), n_rows), np.int64))
        script = script_of(chosen, limit)
    return FittingRows(chosen, script, limit)


def choose_pictures(
    scores: Scores,
    rows: np.ndarray,
    budget: int,
    content: Content | None,
    positions: np.ndarray,
    texts: list[str] | None,
    features: Blocks | None,
) -> Pictures:
    """Thumbnails of images at hand, else of the files in the column `path`, else, without texts, sketches of features."""
    if content is not None and content.kind == IMAGE:
        return collect_images(gallery_order(scores, rows), content_pictures(content, positions), budget)
    found = NO_PICTURES
    if content is None and "path" in scores.table:
        found = collect_images(gallery_order(scores, rows), file_pictures(as_strings(scores.table["path"])), budget)
    if found.rows:
        return found
    if texts is not None or features is None or values_shown(scores):
        return replace(found, kind="none")
    return feature_sketches(features, gallery_order(scores, rows), budget)


def notes_on(scores: Scores, rows: FittingRows, pictures: Pictures, texts: list[str] | None) -> list[str]:
    """What was left out, in plain words."""
    notes, say = [], view_of(scores).phrases(scores.outputs)
    n_shown, n_pictures = len(rows.positions), len(pictures.rows)
    if n_shown < len(scores):
        notes.append(
            f"To keep this file small it holds {n_shown:,} of {len(scores):,} samples: both ends of the ranking, overall and "
            f"by {say.part}, and a random choice of the rest. Figures, sentences and {say.parts} describe all of them."
        )
    kind = "thumbnail" if pictures.kind == "image" else "sketch of the features"
    if pictures.kind != "none" and n_pictures + pictures.unreadable < n_shown:
        notes.append(
            f"{n_pictures:,} of {n_shown:,} samples have a {kind}, to keep this file small: those at both ends of the ranking, "
            f"overall and by {say.part}, those with the {say.least}, and a random choice of the rest."
        )
    if pictures.unreadable:
        notes.append(f"{pictures.unreadable:,} images were not found or could not be read, and are not shown.")
    if texts is not None and rows.text_limit is not None and max(map(len, texts), default=0) > rows.text_limit:
        notes.append(f"Texts are cut after {rows.text_limit:,} characters.")
    if texts is None and not n_pictures and not values_shown(scores):
        notes.append(f"The raw samples were not at hand, so the galleries show ids and {say.many} only.")
    return notes
