"""Figure 10: LSI beside two measures from the literature, PSMI and SUI."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure

import lapsi
from experiments.base import Experiment, Numbers, Setup, main, number
from experiments.data import cifar10
from experiments.drawing import panels, scatter
from experiments.summaries import WEAK, points, rank_correlation
from experiments.verdicts import PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.plots.style import HIGH, LOW, PALETTE

CIFAR, DIGITS = ("airplane", "automobile", "bird"), ("0", "1", "2")
NAMES = {"lsi": "LSI (nats)", "psmi": "PSMI (nats)", "sui": "SUI"}


def measure(setup: Setup) -> Numbers:
    """All of the same samples: three classes of CIFAR-10, 1000 samples, as in Appendix A."""
    whole = cifar10(setup, setup.sized(None, None, 150))
    data = whole.of_classes(DIGITS if whole.stand_in else CIFAR)
    n = min(setup.sized(1000, 1000, 45), len(data.y))
    X, y = data.X[:n], data.y[:n]
    setup.tell(f"LSI, PSMI and SUI of {n:,} samples")
    scores = lapsi.measure(AS_PAPER.closed_form(X, y), X, y, ["psmi", "sui"], progress=False)
    of = {name: scores.table[name].to_numpy() for name in NAMES}
    pairs = {f"{a}, {b}": (of[a], of[b]) for a, b in combinations(NAMES, 2)}
    return {
        "data": f"{data.what}, {n:,} of them",
        "spearman": {name: rank_correlation(*pair) for name, pair in pairs.items()},
        "points": {name: points(*pair) for name, pair in pairs.items()},
        PAPER: AS_PAPER.says,
    }


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Positively and strongly: 0.5; weakly: a size of at most 0.4; nearly none: at most 0.2.

    PSMI is low where features do not tell the label, and so falls where LSI rises.
    """
    found = numbers["spearman"]
    return (
        Verdict(
            "LSI is positively and strongly correlated with PSMI",
            "Figure 10",
            (Check("Spearman", number(found["lsi, psmi"]), "≥", 0.5),),
        ),
        Verdict(
            "LSI is weakly correlated with SUI",
            "Figure 10",
            (Check("Spearman's size", abs(number(found["lsi, sui"])), "≤", WEAK),),
        ),
        Verdict(
            "PSMI and SUI are nearly uncorrelated",
            "Figure 10",
            (Check("Spearman's size", abs(number(found["psmi, sui"])), "≤", 0.2),),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """A panel a pair."""
    figure, axes = panels(3, height=2.4, width=2.5)
    for each, colour, (pair, kept) in zip(axes, (LOW, HIGH, PALETTE[2]), numbers["points"].items(), strict=True):
        a, b = pair.split(", ")
        logs = "".join(axis for axis, name in (("x", a), ("y", b)) if name != "psmi")
        scatter(each, kept, NAMES[a], NAMES[b], logs, colour)
        each.set_title(f"Spearman {numbers['spearman'][pair]:.2f}", loc="left")
    return figure


EXPERIMENT = Experiment("other_measures", "Figure 10", "How does LSI stand to PSMI and SUI?", 1.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
