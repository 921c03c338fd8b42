"""Figure 16: how early in training the order of LSI is that of the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import cifar10
from experiments.drawing import panels
from experiments.summaries import rank_correlation
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER, Way
from lapsi.plots.style import HIGH, LOW, label_axes

WARM_UP = 0.2  # share of the training
PUBLISHED = "epoch 0 .11, 100 .75, 200 .90, 300 .95, 400 .97 of 900"  # printed in a notebook of the published code


def along(way: Way, X: np.ndarray, y: np.ndarray, rows: np.ndarray, every: int) -> dict[str, list[Any]]:
    """Epochs, and the rank correlation of LSI then with LSI at the end."""
    scores = way.retrained(X, y, rows, every)
    assert scores.trajectory is not None
    table = scores.trajectory.pivot(index="id", columns="epoch", values="lsi").loc[scores.table["id"]]
    last = scores.table["lsi"].to_numpy()
    epochs = [int(epoch) for epoch in table.columns]
    return {"epoch": epochs, "spearman": [rank_correlation(table[epoch].to_numpy(), last) for epoch in table.columns]}


def measure(setup: Setup) -> Numbers:
    """Both recipes."""
    data = cifar10(setup, setup.sized(None, 2_000, 100))
    rows = np.arange(min(setup.sized(1000, 200, 20), len(data.y)))
    epochs, found = setup.sized(1000, 1000, 50), {}
    for way in (AS_PAPER.with_training(seeds=1), AS_CODE):
        setup.tell(f"{way.name}: {len(rows)} of {len(data.y):,} samples, {epochs} epochs")
        found[way.name] = along(way.with_training(epochs=epochs), data.X, data.y, rows, epochs // 20)
    return {"data": f"{data.what}; {len(rows)} scored", **found}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """After a fifth of the training the correlation with the end is, and stays, at least 0.8; after half of it 0.95."""
    claim = "after a warm-up the order of LSI stays that of the end"
    return tuple(
        Verdict(
            claim,
            f"Figure 16; published notebook: {PUBLISHED}",
            (
                Check("least Spearman after a fifth of the training", least(numbers[way], WARM_UP), "≥", 0.8),
                Check("least Spearman after half of the training", least(numbers[way], 0.5), "≥", 0.95),
            ),
            recipe=way,
        )
        for way in (PAPER, CODE)
    )


def least(kept: dict[str, list[float]], share: float) -> float:
    """The least correlation from a share of the training on."""
    start = share * kept["epoch"][-1]
    return min(value for epoch, value in zip(kept["epoch"], kept["spearman"], strict=True) if epoch >= start)


def draw(numbers: Numbers) -> Figure:
    """A line a recipe."""
    figure, (axes,) = panels(height=2.3)
    for way, colour in ((PAPER, LOW), (CODE, HIGH)):
        axes.plot(numbers[way]["epoch"], numbers[way]["spearman"], marker="o", markersize=3, color=colour, label=way)
    axes.set_ylim(min(0.0, *numbers[PAPER]["spearman"], *numbers[CODE]["spearman"]), 1.02)
    axes.legend(loc="lower right")
    label_axes(axes, "epoch", "Spearman with the end")
    return figure


EXPERIMENT = Experiment(
    "during_training", "Figure 16", "How early is the order of LSI that of the end?", 3.5, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
