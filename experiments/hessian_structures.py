"""Figure 13: LSI by the diagonal, the Kronecker-factored and the full curvature, against each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main, number
from experiments.data import cifar10
from experiments.drawing import panels, scatter
from experiments.summaries import points, rank_correlation
from experiments.verdicts import CODE, PAPER, WAYS, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER

STRUCTURES = ("diag", "kfac", "full")
PUBLISHED = {"diag, kfac": 0.916, "diag, full": 0.925, "kfac, full": 0.922}  # printed in the notebooks of the published code
WITHOUT_DETERMINANT = "kfac, shift alone"


def measure(setup: Setup) -> Numbers:
    """As-paper in closed form; as-code trained, where kfac leaves the determinants out."""
    data = cifar10(setup, setup.sized(None, 5_000, 60))
    rows = np.arange(min(setup.sized(5_000, 1_000, 20), len(data.y)))
    found: Numbers = {"data": f"{data.what}; {len(rows):,} scored", "pairs": {}}
    lsi: dict[str, np.ndarray] = {}
    for structure in STRUCTURES:
        setup.tell(f"{structure}: {len(rows):,} of {len(data.y):,} samples")
        lsi[structure] = AS_PAPER.closed_form(data.X, data.y, indices=rows, curvature=structure).lsi
    found["pairs"] = {f"{a}, {b}": points(lsi[a], lsi[b]) for a, b in combinations(STRUCTURES, 2)}
    found[PAPER] = {f"{a}, {b}": rank_correlation(lsi[a], lsi[b]) for a, b in combinations(STRUCTURES, 2)}
    way = AS_CODE.with_training(epochs=setup.sized(1000, 500, 10))
    few = rows[: AS_CODE.first]
    setup.tell(f"as-code: {len(few)} samples, diag and kfac")
    diag, kfac = (way.retrained(data.X, data.y, few, curvature=structure) for structure in ("diag", "kfac"))
    # without determinants and prior what is left of kfac is the quadratic form of the shift
    found[CODE] = {
        "diag, kfac": rank_correlation(diag.lsi, kfac.lsi),
        f"diag, {WITHOUT_DETERMINANT}": rank_correlation(diag.lsi, kfac.table["lsi_mean"].to_numpy()),
    }
    return found


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """A strong correlation is taken for one of 0.9."""
    claim = "diagonal, Kronecker-factored and full curvature rank samples nearly alike"
    paper = "Figure 13: strong; published notebooks: " + ", ".join(f"{pair} {value}" for pair, value in PUBLISHED.items())
    parts = {
        way: [Check(f"Spearman of {pair}", number(value), "≥", 0.9) for pair, value in numbers[way].items()] for way in WAYS
    }
    return tuple(Verdict(claim, paper, tuple(checks), way) for way, checks in parts.items())


def draw(numbers: Numbers) -> Figure:
    """A panel a pair of structures."""
    figure, axes = panels(3, height=2.4, width=2.5)
    for each, (pair, kept) in zip(axes, numbers["pairs"].items(), strict=True):
        a, b = pair.split(", ")
        scatter(each, kept, f"LSI, {a} (nats)", f"LSI, {b} (nats)")
        each.set_title(f"Spearman {numbers[PAPER][pair]:.3f}", loc="left")
    return figure


EXPERIMENT = Experiment(
    "hessian_structures", "Figure 13", "Does the structure of the curvature change the order?", 4.0, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
