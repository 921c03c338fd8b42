"""How far rankings agree: two runs, and one run with itself along its training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from lapsi.analysis.agreement import compare
from lapsi.errors import InputError
from lapsi.plots.style import COLUMN_WIDTH, LOW, drawing, label_axes, plain
from lapsi.results.scores import Scores

MANY = 3000  # points that overlap


def correlation(first: Scores, second: Scores, names: tuple[str, str] = ("a", "b"), axes: Axes | None = None) -> Axes:
    """LSI of two runs on the same samples, against each other, with Spearman's correlation (paper, Figure 13).

    Raises:
        InputError: as `lapsi.analysis.agreement.compare`.
    """
    agreement = compare(first, second)
    table = agreement.table
    with drawing(axes, height=COLUMN_WIDTH * 0.85) as drawn:
        many = len(table) > MANY
        drawn.scatter(
            table["lsi_a"],
            table["lsi_b"],
            s=3 if many else 8,
            alpha=0.25 if many else 0.6,
            linewidths=0,
            color=LOW,
            rasterized=many,
        )
        drawn.set(xscale="log", yscale="log")
        drawn.set_title(f"Spearman {agreement.spearman:.4f}, {agreement.n_common:,} samples", loc="left")
        return label_axes(drawn, plain(f"LSI, {names[0]} (nats)"), plain(f"LSI, {names[1]} (nats)"))


def training(scores: Scores, axes: Axes | None = None) -> Axes:
    """How far the order of LSI after each kept epoch agrees with that at the end (paper, Figure 16).

    Raises:
        InputError: when the run kept no LSI along the training.
    """
    if scores.trajectory is None:
        raise InputError("The run kept no LSI along the training; score with engine 'retrain' and every=K (--every K).")
    along = scores.trajectory.pivot(index="id", columns="epoch", values="lsi").loc[scores.table["id"]]
    last = scores.table["lsi"].rank().to_numpy()
    agreement = [float(np.corrcoef(along[epoch].rank().to_numpy(), last)[0, 1]) for epoch in along.columns]
    with drawing(axes) as drawn:
        drawn.plot(along.columns, agreement, marker="o", markersize=3, color=LOW)
        drawn.set_ylim(min(0.0, *agreement), 1.02)
        return label_axes(drawn, "epoch", "Spearman with the end")
