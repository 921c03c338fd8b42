"""Figure 14: labels that people got wrong (CIFAR-10N) beside as many flipped at random; which have the higher LSI?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import Data, cifar10
from experiments.drawing import distributions, panels
from experiments.summaries import auroc, described, median_ratio
from experiments.verdicts import PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.data.corruption import flip_labels
from lapsi.plots.style import HIGH, LOW

KINDS = HUMAN, RANDOM = ("people's errors", "random flips")
BUILT_IN_SHARE = 0.1
CLAIMS = (
    "samples that people mislabelled have higher LSI than rightly labelled ones",
    "people's errors raise LSI less than random flips",
)


def relabelled(data: Data) -> dict[str, np.ndarray]:
    """Labels (N,) that people gave, and as many wrong ones at random; where people gave none, errors to the nearest class."""
    human = data.human if data.human is not None else _alike(data)
    share = float((human != data.y).mean())
    return {HUMAN: human, RANDOM: flip_labels(data.y, len(data.classes), share, np.random.default_rng(0))}


def _alike(data: Data) -> np.ndarray:
    centres = np.stack([data.X[data.y == code].mean(0) for code in range(len(data.classes))])
    distances = np.square(data.X[:, None] - centres).sum(2)
    distances[np.arange(len(data.y)), data.y] = np.inf
    labels = data.y.copy()
    rows = np.random.default_rng(1).choice(len(labels), round(BUILT_IN_SHARE * len(labels)), replace=False)
    labels[rows] = distances[rows].argmin(1)
    return labels


def measure(setup: Setup) -> Numbers:
    """LSI under both sets of labels."""
    data, found = cifar10(setup, setup.sized(None, 10_000, 150)), {}
    for kind, y in relabelled(data).items():
        setup.tell(f"{kind}: {len(y):,} samples")
        lsi, wrong = AS_PAPER.closed_form(data.X, y).lsi, y != data.y
        found[kind] = {
            "right": described(lsi[~wrong]),
            "wrong": described(lsi[wrong]),
            "auroc": auroc(wrong, lsi),
        }
    return {"data": data.what, "by_people": data.human is not None, "kinds": found, PAPER: AS_PAPER.says}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Medians, and the area under the ROC curve; of labels that people gave alone."""
    if not numbers["by_people"]:
        untested = "no labels that people gave are at hand; the figure is of errors to the nearest class"
        return tuple(Verdict(claim, "Figure 14", untested=untested) for claim in CLAIMS)
    human, random = (numbers["kinds"][kind] for kind in KINDS)
    ratios = {kind: median_ratio(kept["wrong"], kept["right"]) for kind, kept in numbers["kinds"].items()}
    return (
        Verdict(
            CLAIMS[0],
            "Figure 14, left",
            (Check("median over right labels", ratios[HUMAN], ">", 1.0), Check("AUROC", human["auroc"], "≥", 0.7)),
        ),
        Verdict(
            CLAIMS[1],
            "Figure 14: smaller increase",
            (
                Check("median of random flips over people's errors", median_ratio(random["wrong"], human["wrong"]), ">", 1.0),
                Check("increase by random flips over that by people", ratios[RANDOM] / ratios[HUMAN], ">", 1.0),
            ),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """A panel a kind of labels."""
    figure, axes = panels(2, height=2.5)
    for each, (kind, kept) in zip(axes, numbers["kinds"].items(), strict=True):
        distributions(each, {"right labels": kept["right"], kind: kept["wrong"]}, (LOW, HIGH), f"AUROC {kept['auroc']:.3f}")
    low, high = min(each.get_xlim()[0] for each in axes), max(each.get_xlim()[1] for each in axes)
    for each in axes:
        each.set_xlim(low, high)
    return figure


EXPERIMENT = Experiment(
    "human_labels", "Figure 14", "Do labels that people got wrong raise LSI less than random flips?", 1.5, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
