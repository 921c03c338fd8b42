"""Pieces of figures, in the style of `lapsi.plots`, drawn from what is kept of many values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.base import number
from lapsi.plots.style import COLUMN_WIDTH, DIVERGING, INK, LOW, LSI_LABEL, PALETTE, RAMP, label_axes, plain

MANY = 500  # points that overlap
DARK = 0.6  # correlation on whose colour text is white
BY_DECADE = "samples (% a decade)"


def panels(n_columns: int = 1, n_rows: int = 1, height: float = 2.3, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with some panels in rows, each as wide as a column of a page where not told otherwise; heights in inches."""
    figure = Figure(figsize=(n_columns * (width or COLUMN_WIDTH), n_rows * height), layout="constrained")
    return figure, list(np.asarray(figure.subplots(n_rows, n_columns, squeeze=False)).ravel())


def distributions(axes: Axes, parts: Mapping[str, dict[str, Any]], colours: Sequence[str] = PALETTE, title: str = "") -> Axes:
    """Distributions of LSI over powers of ten, of what `described` gave, a line and a tick at the median each."""
    for (name, kept), colour in zip(parts.items(), colours, strict=False):
        axes.stairs(kept["percent_a_decade"], kept["edges"], color=colour, linewidth=1.2, label=plain(name))
        axes.stairs(kept["percent_a_decade"], kept["edges"], color=colour, fill=True, alpha=0.12)
    top = 1.06 * axes.get_ylim()[1]
    for kept, colour in zip(parts.values(), colours, strict=False):
        axes.plot([kept["q50"]], [top], marker="v", markersize=4, color=colour, clip_on=False)
    axes.set_ylim(0, top)
    axes.set_xscale("log")
    if title:
        axes.set_title(plain(title), loc="left", pad=6 if len(parts) < 2 else 8 + 9 * -(-len(parts) // 2))
    if len(parts) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2, borderaxespad=0.2, handlelength=1.2)
    return label_axes(axes, LSI_LABEL, BY_DECADE)


def boxes(axes: Axes, parts: Mapping[str, dict[str, Any]], colours: Sequence[str] | None = None) -> Axes:
    """LSI as boxes from quartile to quartile, whiskers from 5 to 95 %, of what `described` gave."""
    places = {"whislo": "q5", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q95"}
    drawn = [
        {"label": plain(name), **{place: kept[quantile] for place, quantile in places.items()}} for name, kept in parts.items()
    ]
    made = axes.bxp(drawn, showfliers=False, patch_artist=True, widths=0.6, medianprops={"color": INK})
    for box, colour in zip(made["boxes"], colours or [LOW] * len(drawn), strict=True):
        box.set(facecolor=colour, alpha=0.45, edgecolor=colour)
    axes.set_yscale("log")
    return label_axes(axes, "", LSI_LABEL)


def scatter(axes: Axes, kept: dict[str, Any], x_label: str, y_label: str, logs: str = "xy", colour: str = LOW) -> Axes:
    """Pairs of values of what `points` gave; `logs` names the axes of powers of ten."""
    many = len(kept["x"]) > MANY
    size, alpha = (3, 0.35) if many else (8, 0.6)
    axes.scatter(kept["x"], kept["y"], s=size, alpha=alpha, linewidths=0, color=colour, rasterized=many)
    for name in logs:
        axes.set(**{f"{name}scale": "log"})
    return label_axes(axes, plain(x_label), plain(y_label))


def correlations(axes: Axes, names: Sequence[str], values: Sequence[Sequence[float | None]], title: str) -> Axes:
    """A table of rank correlations as colours and figures; where there is none it stays empty."""
    table = np.array([[number(value) for value in row] for row in values])
    axes.imshow(table, cmap=DIVERGING, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            written = f"{value:.2f}".replace("-", "\N{MINUS SIGN}").replace("0.", ".")
            colour = "white" if abs(value) > DARK else INK
            axes.text(column, row, written, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(names)), [plain(name) for name in names], rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_title(title, loc="left")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes


def ramp(n: int) -> list[str]:
    """`n` colours from low to high."""
    return [RAMP[round(place)] for place in np.linspace(0, len(RAMP) - 1, n)]
