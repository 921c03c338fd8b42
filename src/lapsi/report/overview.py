"""One picture of a run: the distribution of LSI, and the samples at its two ends."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from lapsi.data.samples import IMAGE, UNREADABLE, Content
from lapsi.plots.distributions import bins_of, mark_floor
from lapsi.plots.galleries import draw_cells
from lapsi.plots.style import HIGH, INK, LOW
from lapsi.results.scores import Scores
from lapsi.settings.task import CLASSES, MULTILABEL, PAIRS, REGRESSION

GALLERY_COLUMNS = 10
HEADROOM = 1.1  # above the bars, for the word at the median
SIDE = 64  # pixels of a picture
OF_LABELS = ["label as found", "label flipped"]
AS_FOUND = {
    CLASSES: OF_LABELS,
    MULTILABEL: OF_LABELS,
    REGRESSION: ["target as found", "target changed"],
    PAIRS: ["pair as found", "pair shuffled"],
}


def save_overview(
    scores: Scores, path: str | Path, images: np.ndarray | None = None, planted: np.ndarray | None = None
) -> None:
    """Writes the picture of a run as PNG, SVG or PDF.

    Args:
        scores: the run.
        path: the file; its ending chooses the format.
        images: (n, height, width) grey values of the scored samples, for the galleries; None leaves them out.
        planted: (n,) booleans, targets known to be wrong; they get their own bars.
    """
    if images is None:
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        draw_histogram(figure.subplots(), scores, planted)
    else:
        figure = Figure(figsize=(9, 7.2), layout="constrained")
        parts: Any = figure.subfigures(3, 1, height_ratios=[3.4, 1.75, 1.75])
        top, low, high = parts
        draw_histogram(top.subplots(), scores, planted)
        order = np.argsort(scores.lsi, kind="stable")
        draw_gallery(low, scores, images, order, "Least informative: typical, redundant", LOW)
        draw_gallery(high, scores, images, order[::-1], f"Most informative: {scores.evidence.atypical}", HIGH)
    figure.savefig(path, dpi=150)


def gallery_images(scores: Scores, content: Content | None) -> np.ndarray | None:
    """(n, SIDE, SIDE) grey values of the scored samples, of those at both ends alone; None where the data are no images.

    What cannot be read any more stays black.
    """
    if content is None or content.kind != IMAGE:
        return None
    images, order = np.zeros((len(scores), SIDE, SIDE), np.uint8), np.argsort(scores.lsi, kind="stable")
    for row in {*order[:GALLERY_COLUMNS].tolist(), *order[-GALLERY_COLUMNS:].tolist()}:
        with suppress(*UNREADABLE):
            picture = content.decode(content.read(int(scores.table["row"].iloc[row])))
            images[row] = np.asarray(picture.convert("L").resize((SIDE, SIDE)))
    return images


def flipped_in(scores: Scores) -> np.ndarray | None:
    """(n,) bool: the samples whose label was flipped on purpose; None where none was, or other things were changed too."""
    if set(scores.provenance.corruption) - {"seed", "n_corrupted"} != {"flip_labels"}:
        return None
    return scores.table["corrupted"].to_numpy(bool)


def draw_histogram(axes: Axes, scores: Scores, planted: np.ndarray | None = None) -> Axes:
    """Distribution of LSI on a logarithmic axis; samples whose target is known to be wrong apart, where given.

    What lies below the noise floor of a run is shaded.
    """
    lsi = scores.as_drawn().lsi
    positive = np.append(lsi[lsi > 0], [] if (lsi > 0).any() else [1.0])
    bins = bins_of(positive)
    if planted is None:
        axes.hist(lsi, bins=bins, color=LOW, label="samples")
    else:
        axes.hist([lsi[~planted], lsi[planted]], bins=bins, stacked=True, color=[LOW, HIGH], label=AS_FOUND[scores.task])
        axes.legend(frameon=False)
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(top=HEADROOM * axes.get_ylim()[1])
    median = float(np.median(lsi))
    if median > 0:  # a logarithmic axis has no place for 0
        axes.axvline(median, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            "median",
            (median, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            color=INK,
        )
    mark_floor(axes, scores)
    axes.set_xlabel("Laplace Sample Information (nats, log scale)")
    axes.set_ylabel("samples")
    infinite = f" ({scores.n_infinite:,} infinite: the last bar)" if scores.n_infinite else ""
    axes.set_title(f"How much each of {len(scores):,} samples teaches the model{infinite}", loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_gallery(figure: FigureBase, scores: Scores, images: np.ndarray, rows: np.ndarray, title: str, color: str) -> None:
    """One line with the first samples of `rows`, titled "label → suggestion?" where the leave-one-out model disagrees."""
    figure.suptitle(title, x=0.01, ha="left", color=color)
    draw_cells(np.atleast_1d(figure.subplots(1, GALLERY_COLUMNS)), scores, images, rows)
