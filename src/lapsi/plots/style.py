"""How all figures look: legible at the width of a column, safe for colour-blind eyes; and how they are saved."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullFormatter

from lapsi.errors import InputError

LOW, HIGH, INK = "#0072B2", "#D55E00", "#333333"  # blue and vermillion of Okabe and Ito's palette
RAMP = ("#5FB0E0", "#5F8FC4", "#8A6AA0", "#B0505C", "#B54A00")  # from low to high, one way in lightness
PALETTE = (LOW, HIGH, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DIVERGING = LinearSegmentedColormap.from_list("lapsi", (LOW, "#FFFFFF", HIGH))
FORMATS = (".png", ".svg", ".pdf")
LSI_LABEL = "Laplace Sample Information (nats)"
COLUMN_WIDTH = 3.35  # inches, of a two-column page
STYLE: Any = {  # matplotlib types its keys one by one
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "axes.prop_cycle": cycler(color=PALETTE),
}


@contextmanager
def drawing(axes: Axes | None, height: float = 2.3) -> Iterator[Axes]:
    """The axes to draw on, in lapsi's style: those given, or new ones at column width."""
    with mpl.rc_context(STYLE):
        yield _shown(Figure(figsize=(COLUMN_WIDTH, height), layout="constrained").subplots()) if axes is None else axes


def _shown(axes: Axes) -> Axes:
    """The axes, which a notebook now shows as a picture, and so their figure: it asks objects for `_repr_png_`."""
    for each in (axes, picture_of(axes)):
        vars(each)["_repr_png_"] = partial(png, axes)
    return axes


def png(axes: Axes | np.ndarray, dpi: int = 150) -> bytes:
    """The figure of some axes as the bytes of a PNG file."""
    drawn = io.BytesIO()
    picture_of(axes).savefig(drawn, format="png", dpi=dpi)
    return drawn.getvalue()


def picture_of(axes: Axes | np.ndarray) -> Figure:
    """The whole figure that some axes are a part of."""
    first: Axes = axes.ravel()[0] if isinstance(axes, np.ndarray) else axes
    whole = first.figure.figure if isinstance(first.figure, SubFigure) else first.figure
    assert isinstance(whole, Figure)
    return whole


def plain(text: str) -> str:
    """A name as it is, its dollars no marks of mathematics."""
    return text.replace("$", r"\$")


def label_axes(axes: Axes, x_label: str, y_label: str) -> Axes:
    """The axes with names, open at the top and the right."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() == "log" and np.ceil(np.log10(low)) <= np.floor(np.log10(high)):
            axis.set_minor_formatter(NullFormatter())  # the powers of ten are enough, and names between them would overlap
    return axes


def save(axes: Axes | np.ndarray, path: str | Path, dpi: int = 300) -> Path:
    """Writes the figure of some axes as .png, .svg or .pdf.

    Raises:
        InputError: for another kind of file.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"{target.name} is a file of kind {target.suffix or '(none)'!r}; expected {', '.join(FORMATS)}.")
    drawn = io.BytesIO()  # drawn in memory: what a full disk breaks off, matplotlib cannot always end
    picture_of(axes).savefig(drawn, format=target.suffix[1:].lower(), dpi=dpi)
    target.write_bytes(drawn.getvalue())
    return target
