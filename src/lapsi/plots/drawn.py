"""A figure by its name, as something that a notebook shows and a file keeps."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lapsi.errors import InputError, meant
from lapsi.plots.style import png, save
from lapsi.results.scores import Scores

FIGURES = ("distribution", "by_class", "corrupted", "gallery", "measures", "regularization", "residuals", "training")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Drawn:
    """A figure that was drawn.

    Attributes:
        axes: of matplotlib, to be changed or added to.
        name: of the figure.
    """

    axes: Axes | np.ndarray
    name: str

    def __repr__(self) -> str:
        return f"<figure {self.name!r}; a notebook shows it, .save('figure.png') writes it, .axes are those of matplotlib>"

    def _repr_png_(self) -> bytes:
        return png(self.axes)

    def save(self, path: str | Path, dpi: int = 300) -> Path:
        """Writes it as .png, .svg or .pdf.

        Raises:
            InputError: for another kind of file.
        """
        return save(self.axes, path, dpi)


def draw(scores: Scores, name: str = "distribution", **named: Any) -> Drawn:
    """A figure of `lapsi.plots` of one run.

    Args:
        scores: the run.
        name: one of `FIGURES`, with - or _.
        named: what else the function of that name takes.

    Raises:
        InputError: for another name, or where the run has nothing to draw.
    """
    called = name.replace("-", "_")
    if called not in FIGURES:
        expected = f"expected one of {', '.join(FIGURES)}.{meant(called, FIGURES)}"
        raise InputError(f"There is no figure {name!r} of one run; {expected}")
    return Drawn(getattr(import_module("lapsi.plots"), called)(scores, **named), called)
