"""How far targets that are numbers lie from what models that never saw them predict."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm

from lapsi.errors import InputError
from lapsi.plots.style import COLUMN_WIDTH, INK, LSI_LABEL, RAMP, drawing, label_axes, plain
from lapsi.results.evidence.numbers import given_numbers
from lapsi.results.scores import Scores
from lapsi.settings.task import REGRESSION

MANY = 3000  # points that overlap


def residuals(scores: Scores, output: str | None = None, axes: Axes | None = None) -> Axes:
    """Each target against its leave-one-out prediction, coloured by LSI; on the dashed line both are the same.

    Args:
        scores: of samples whose targets are numbers.
        output: which of several targets; None for the first.
        axes: to draw on.

    Raises:
        InputError: when the targets are no numbers, or none is called so, or no sample has an LSI above 0.
    """
    if scores.task != REGRESSION:
        raise InputError(f"The targets of the run are those of task {scores.task!r}; residuals are of numbers.")
    names = scores.outputs.astype(str).tolist()
    if output is not None and output not in names:
        raise InputError(f"The run has no target {output!r}; it has {', '.join(names)}.")
    lsi = scores.as_drawn().lsi
    if not (lsi > 0).any():
        raise InputError("No sample has an LSI above 0, so a logarithmic scale of colours shows none.")
    place = 0 if output is None else names.index(output)
    given, predicted = given_numbers(scores.table, scores.outputs)[:, place], scores.prediction[:, place]
    least = lsi[lsi > 0].min()
    order = np.argsort(lsi, kind="stable")  # the most informative on top
    many = len(lsi) > MANY
    with drawing(axes, height=COLUMN_WIDTH * 0.85) as drawn:
        points = drawn.scatter(
            predicted[order],
            given[order],
            c=np.maximum(lsi, least)[order],
            norm=LogNorm(least, max(lsi.max(), least * 1.001)),
            cmap=LinearSegmentedColormap.from_list("lsi", RAMP),
            s=3 if many else 8,
            linewidths=0,
            rasterized=many,
        )
        ends = [min(given.min(), predicted.min()), max(given.max(), predicted.max())]
        drawn.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--", zorder=0)
        bar = drawn.figure.colorbar(points, ax=drawn)
        bar.set_label(LSI_LABEL, fontsize=7)
        bar.outline.set_visible(False)
        of = f", {plain(names[place])}" if len(names) > 1 else ""
        return label_axes(drawn, f"leave-one-out prediction{of}", f"target{of}")
