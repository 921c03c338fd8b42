"""How far rankings agree: two runs, and one run with itself along its training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from lapsi.analysis.agreement import compare, rank_correlations
from lapsi.errors import InputError
from lapsi.plots.style import COLUMN_WIDTH, DIVERGING, INK, LOW, drawing, label_axes, plain
from lapsi.results.scores import Scores

MANY = 3000  # points that overlap
DARK = 0.6  # correlation on whose colour text is white


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


def measures(scores: Scores, axes: Axes | None = None) -> Axes:
    """Rank correlations of LSI and the other measures of a run with each other (paper, Figure 10).

    Raises:
        InputError: when the run holds no other measure.
    """
    correlations = rank_correlations(scores)
    titles = {column.name: column.heading for column in scores.columns}
    names = [plain(titles[str(name)]) for name in correlations]
    with drawing(axes, height=COLUMN_WIDTH * 0.9) as drawn:
        drawn.imshow(correlations, cmap=DIVERGING, vmin=-1, vmax=1)
        for (row, column), value in np.ndenumerate(correlations.to_numpy()):
            colour = "white" if abs(value) > DARK else INK
            written = f"{value:.2f}".replace("-", "\N{MINUS SIGN}").replace("0.", ".")
            drawn.text(column, row, written, ha="center", va="center", fontsize=7, color=colour)
        drawn.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        drawn.set_yticks(range(len(names)), names)
        drawn.set_title("Spearman's correlation", loc="left")
        drawn.tick_params(length=0)
        drawn.spines[:].set_visible(False)
    return drawn
