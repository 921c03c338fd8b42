"""Divergences of single samples: over the orders of Rényi's, and over trainings under differential privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lapsi.analysis import privacy
from lapsi.errors import InputError
from lapsi.plots.style import COLUMN_WIDTH, HIGH, INK, LOW, LSI_LABEL, drawing, label_axes, plain
from lapsi.results.scores import Scores

N_BINS = 60
NOTE = "(no guarantee of differential privacy)"
ROW_HEIGHT = 0.42  # inches
BANDS = (("q05", "q95", 0.18), ("q25", "q75", 0.35))


def by_order(scores: Scores, orders: Sequence[float] | None = None, axes: Axes | None = None) -> Axes:
    """Rényi divergences of the samples of a run by order: the median, half and nine tenths of the samples, and the largest.

    Of all orders that there are, or of some. Lines end where they become infinite, and bands go on to the edge.

    Raises:
        InputError: when the run has no such columns.
    """
    table = privacy.by_order(scores, orders)
    places, finite = table.index.to_numpy(dtype=float), table.replace(np.inf, np.nan)
    top = 2 * float(np.nanmax(finite[["median", "max"]].to_numpy()))
    with drawing(axes, height=COLUMN_WIDTH * 0.8) as drawn:
        for low, high, alpha in BANDS:
            share = f"{privacy.QUANTILES[high] - privacy.QUANTILES[low]:.0%} of the samples"
            bottom, edge = (table[end].clip(upper=top).to_numpy() for end in (low, high))
            drawn.fill_between(places, bottom, edge, color=LOW, alpha=alpha, linewidth=0, label=share)
        drawn.plot(places, finite["median"].to_numpy(), color=LOW, marker="o", markersize=3, label="median")
        drawn.plot(places, finite["max"].to_numpy(), color=HIGH, marker="o", markersize=3, label="largest")
        drawn.set_xscale("log", base=2)
        drawn.set_yscale("log")
        drawn.set_ylim(top=top)
        drawn.set_xticks(places, [f"{order:g}" for order in places])
        drawn.minorticks_off()
        drawn.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        _tell_infinite(drawn, table["n_infinite"], len(scores))
        return label_axes(drawn, f"order of the Rényi divergence\n{NOTE}", "divergence of a sample (nats)")


def by_training(runs: Mapping[str, Scores], axes: Axes | None = None) -> Axes:
    """Distributions of LSI of several runs on one logarithmic axis, a row each, by clip norm and noise (paper, Figure 17).

    A mark is the median. Runs of the same clip norm and noise are told apart by their names; LSI of 0 and infinite LSI is not
    drawn.

    Raises:
        InputError: when the runs tell different divergences, or one has no finite LSI above 0.
    """
    table = privacy.by_training(runs)
    labels = [privacy.training_in_words(row) for _, row in table.iterrows()]
    names = [f"{label}\n{name}" if labels.count(label) > 1 else label for label, name in zip(labels, table.index, strict=True)]
    values = [_drawable(runs[name].lsi, name) for name in table.index]
    every = np.concatenate(values)
    bins = np.geomspace(every.min() * 0.999, every.max() * 1.001, N_BINS)
    with drawing(axes, height=ROW_HEIGHT * len(values) + 0.7) as drawn:
        for place, lsi in enumerate(values[::-1]):
            counts, _ = np.histogram(lsi, bins)
            drawn.stairs(place + 0.85 * counts / counts.max(), bins, baseline=place, fill=True, color=LOW, alpha=0.6)
            drawn.plot([np.median(lsi)] * 2, [place, place + 0.85], color=HIGH, linewidth=1.2)
        drawn.set_yticks(np.arange(len(values)), [plain(name) for name in names[::-1]], va="bottom")
        drawn.tick_params(axis="y", length=0)
        drawn.set_ylim(0, len(values))
        drawn.set_xscale("log")
        for place in range(len(values)):
            drawn.axhline(place, color=INK, linewidth=0.4)
        return label_axes(drawn, f"{LSI_LABEL}\n{NOTE}", "")


def _drawable(lsi: np.ndarray, name: str) -> np.ndarray:
    found = lsi[(lsi > 0) & np.isfinite(lsi)]
    if len(found) == 0:
        raise InputError(f"No sample of {name} has a finite LSI above 0: a logarithmic axis shows none.")
    return found


def _tell_infinite(axes: Axes, infinite: pd.Series, n_samples: int) -> None:
    """Where divergences are infinite, from which order on, and of how many samples at the highest."""
    some = infinite[infinite > 0]
    if len(some) > 0:
        counts = dict.fromkeys(f"{some.loc[order]:,} at {order:g}" for order in (some.index[0], some.index[-1]))
        text = f"infinite: {', '.join(counts)}\n(of {n_samples:,} samples)"
        axes.annotate(text, (0.98, 0.03), xycoords="axes fraction", ha="right", va="bottom", fontsize=7, color=INK)
