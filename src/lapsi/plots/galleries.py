"""Pictures of the samples at the ends of the ranking."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lapsi.errors import InputError
from lapsi.plots.style import COLUMN_WIDTH, INK, STYLE, plain
from lapsi.results.scores import Scores
from lapsi.settings.task import REGRESSION

GALLERY_COLUMNS = 5


def gallery(
    scores: Scores, images: Any, which: str = "highest", label: Any = None, rows: int = 2, figure: Figure | None = None
) -> np.ndarray:
    """Samples at one end of the ranking (paper, Figures 2 to 4), "given label → suggested label?" above each.

    Args:
        scores: of n samples.
        images: (n, height, width) or (n, height, width, 3), in the order of the table; or a function from a position in the
            table to such an image.
        which: "highest", "lowest", or "doubtful" (lowest label quality).
        label: of one class (of those that have one label) only.
        rows: of five images each.
        figure: to draw on.

    Returns:
        The Axes (rows, 5).

    Raises:
        InputError: for another word, or a class without samples.
    """
    orders = {"highest": -scores.lsi, "lowest": scores.lsi, "doubtful": scores.table["label_quality"].to_numpy()}
    if which not in orders:
        raise InputError(f"which is {which!r}; expected one of {', '.join(map(repr, orders))}.")
    inside = np.ones(len(scores), dtype=bool) if label is None else _with_label(scores, label)
    if not inside.any():
        raise InputError(f"No sample has the label {label!r}.")
    positions = [row for row in np.argsort(orders[which], kind="stable") if inside[row]]
    with mpl.rc_context(STYLE):
        target = figure or Figure(figsize=(COLUMN_WIDTH, 0.85 * rows), layout="constrained")
        cells = np.asarray(target.subplots(rows, GALLERY_COLUMNS, squeeze=False))
        draw_cells(cells.ravel(), scores, images, positions)
    return cells


def _with_label(scores: Scores, label: Any) -> np.ndarray:
    """(n,) whether a sample is of a class, or has a label among others."""
    if scores.task == REGRESSION:
        raise InputError("The targets of the run are numbers, so there are no galleries of one label; leave it out.")
    rows = dict(scores.evidence.parts(scores.table, scores.outputs)).get(str(label), np.array([], dtype=np.int64))
    return np.isin(np.arange(len(scores)), rows)


def draw_cells(cells: Any, scores: Scores, images: Any, positions: Any) -> None:
    """One image a cell, those at `positions` of the table in turn; 0 is black, as in image files."""
    shown = {column.name: column for column in scores.columns}
    for cell in cells:
        cell.set_axis_off()
    for cell, row in zip(cells, positions, strict=False):
        record = {name: shown[name].show(scores.table[name].iloc[row]) for name in ("label", "suggested_label")}
        pixels = images(row) if callable(images) else images[row]
        whole = {"vmin": 0, "vmax": 255} if np.asarray(pixels).dtype == np.uint8 else {}
        cell.imshow(pixels, cmap="gray", interpolation="nearest", **whole)
        suggestion = f" → {record['suggested_label']}?" if scores.table["suggested_label"].notna().iloc[row] else ""
        cell.set_title(plain(f"{record['label']}{suggestion}"), color=INK, pad=2)
        cell.text(0.5, -0.06, f"{scores.lsi[row]:.1e}", transform=cell.transAxes, ha="center", va="top", fontsize=6, color=INK)
