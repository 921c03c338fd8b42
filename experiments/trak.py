"""Figure 11: LSI beside TRAK, the mean over all training samples as targets. Figure 12 is the galleries of both."""

from __future__ import annotations

from matplotlib.figure import Figure

import lapsi
from experiments.base import FULL, Experiment, Numbers, Setup, main, number
from experiments.data import cifar10, official
from experiments.drawing import panels, scatter
from experiments.summaries import WEAK, points, rank_correlation
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_PAPER


def measure(setup: Setup) -> Numbers:
    """Of the probe: gradients of its parameters, where the paper takes those of a whole network that was tuned."""
    data = official(setup, "imagenette") if setup.scale == FULL else cifar10(setup, setup.sized(0, 5_000, 120))
    setup.tell(f"LSI and TRAK of {len(data.y):,} samples")
    scores = lapsi.measure(AS_PAPER.closed_form(data.X, data.y), data.X, data.y, "trak", progress=False)
    trak = scores.table["trak"].to_numpy()
    return {
        "data": data.what,
        "spearman": rank_correlation(scores.lsi, trak),
        "points": points(scores.lsi, trak),
        PAPER: AS_PAPER.says,
    }


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Weak: a size of at most 0.4. Targets are the training samples, as in the published code; in the text test samples."""
    found = number(numbers["spearman"])
    checks = (Check("Spearman's size", abs(found), "≤", WEAK),)
    paper = (
        "Figure 11: Spearman 0.15, Imagenette; its targets are test samples in the text, training samples in the code, as here"
    )
    return (Verdict("LSI and TRAK are weakly correlated", paper, checks, recipe=CODE),)


def draw(numbers: Numbers) -> Figure:
    """A point a sample."""
    figure, (axes,) = panels(height=2.6)
    scatter(axes, numbers["points"], "LSI (nats)", "TRAK, mean over targets", "x")
    values = [abs(value) for value in numbers["points"]["y"] if value]
    axes.set_yscale("symlog", linthresh=sorted(values)[len(values) // 2])
    axes.set_title(f"Spearman {number(numbers['spearman']):.2f}", loc="left")
    return figure


EXPERIMENT = Experiment("trak", "Figures 11, 12", "How does LSI stand to TRAK?", 1.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
