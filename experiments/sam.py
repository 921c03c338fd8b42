"""Beyond the figures: LSI by sharpness-aware minimisation (SAM), which in the published code is plain descent."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main, number
from experiments.data import cifar10
from experiments.drawing import panels, scatter
from experiments.summaries import points, rank_correlation
from experiments.verdicts import CODE, PAPER, WAYS, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER
from lapsi.plots.style import HIGH, LOW

RADIUS = 0.05


def measure(setup: Setup) -> Numbers:
    """As-paper: SAM in two passes; as-code: its second pass reuses the first, so it is descent, without decay and Nesterov."""
    data = cifar10(setup, setup.sized(10_000, 2_000, 100))
    epochs = setup.sized(1000, 500, 10)
    paper = AS_PAPER.with_training(epochs=epochs, seeds=1)
    code = AS_CODE.with_training(epochs=epochs)
    pairs = {
        PAPER: (paper, paper.with_training(sam_radius=RADIUS)),
        CODE: (code, code.with_decay(0.0).with_training(nesterov=False)),
    }
    found: Numbers = {"data": data.what, "spearman": {}, "points": {}}
    for name, (plain, other) in pairs.items():
        rows = np.arange(min(setup.sized(1000, 150, 15), len(data.y)))[: plain.first]
        setup.tell(f"{name}: twice {len(rows)} of {len(data.y):,} samples, {epochs} epochs")
        lsi = [way.retrained(data.X, data.y, rows).lsi for way in (plain, other)]
        found["spearman"][name], found["points"][name] = rank_correlation(*lsi), points(*lsi)
    return found


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """The order survives where Spearman's correlation is at least 0.9."""
    return tuple(
        Verdict(
            "the order of LSI survives SAM",
            "a notebook of the published code: Spearman 1.0000 (where SAM is plain descent)",
            (Check("Spearman of LSI by descent and by SAM", number(numbers["spearman"][way]), "≥", 0.9),),
            recipe=way,
        )
        for way in WAYS
    )


def draw(numbers: Numbers) -> Figure:
    """A panel a recipe."""
    figure, axes = panels(2, height=2.5, width=2.8)
    labels = {PAPER: f"LSI by SAM, radius {RADIUS:g} (nats)", CODE: "LSI by what is called SAM (nats)"}
    for each, way, colour in zip(axes, WAYS, (LOW, HIGH), strict=True):
        scatter(each, numbers["points"][way], "LSI by descent (nats)", labels[way], colour=colour)
        each.set_title(f"{way}: Spearman {number(numbers['spearman'][way]):.3f}", loc="left")
    return figure


EXPERIMENT = Experiment("sam", "published code", "Does the order of LSI survive SAM?", 2.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
