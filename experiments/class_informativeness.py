"""Figure 7: LSI by class, and of a class whose features get more and more Gaussian noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import FULL, Experiment, Numbers, Setup, main
from experiments.data import Data, cifar10, official
from experiments.drawing import boxes, panels
from experiments.summaries import described, median_ratio, rank_correlation
from experiments.verdicts import PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.plots.style import LSI_LABEL, PALETTE, label_axes, plain

LEVELS, QUARTER = (0.5, 1.0, 2.0), 0.25
DISTINCT, ALIKE = "distinct", "alike"
OFFICIAL = {DISTINCT: ("normal",), ALIKE: ("bacterial", "viral")}
CIFAR = {DISTINCT: ("automobile",), ALIKE: ("cat", "dog")}
DIGITS = {DISTINCT: ("0",), ALIKE: ("3", "8")}


def three_classes(setup: Setup) -> tuple[Data, dict[str, tuple[str, ...]]]:
    """Pneumonia; at small scale one class that is easily told and two that look alike."""
    if setup.scale == FULL:
        return official(setup, "pneumonia"), OFFICIAL
    data = cifar10(setup, setup.sized(0, 10_000, 200))
    roles = DIGITS if data.stand_in else CIFAR
    return data.of_classes([name for names in roles.values() for name in names]), roles


def noisy(data: Data, name: str, level: float) -> np.ndarray:
    """Features (N, d) with Gaussian noise of so many standard deviations of each on one class."""
    noise = np.random.default_rng(0).normal(size=data.X.shape) * level * data.X.std(0)
    return np.where((data.y == data.classes.index(name))[:, None], data.X + noise, data.X)


def measure(setup: Setup) -> Numbers:
    """LSI by class, and that of each class with noise on it alone."""
    data, roles = three_classes(setup)
    setup.tell(f"no noise: {len(data.y):,} samples")
    lsi = AS_PAPER.closed_form(data.X, data.y).lsi
    own = {name: lsi[data.y == code] for code, name in enumerate(data.classes)}
    clean = {name: described(values) for name, values in own.items()}
    noise = {name: {"0": clean[name] | {"above": QUARTER}} for name in data.classes}
    for code, name in enumerate(data.classes):
        for level in LEVELS:
            setup.tell(f"noise {level:g} on {name}")
            values = AS_PAPER.closed_form(noisy(data, name, level), data.y).lsi[data.y == code]
            noise[name][f"{level:g}"] = described(values) | {"above": float((values > clean[name]["q75"]).mean())}
    return {"data": data.what, "roles": roles, "classes": clean, "noise": noise, PAPER: AS_PAPER.says}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Classes by their medians; a shift by the mean, and by the share above the upper quartile that there was without noise.

    The median shows no shift where most of a class lies at the least LSI that any sample has, that of the prior.
    """
    (name,), clean = numbers["roles"][DISTINCT], numbers["classes"]
    above = tuple(
        Check(f"median of {other} over {name}", median_ratio(clean[other], clean[name]), ">", 1.0)
        for other in numbers["roles"][ALIKE]
    )
    shifts = [check for each, levels in numbers["noise"].items() for check in shift(each, list(levels.values()))]
    return (
        Verdict(
            "classes that are hard to tell apart have higher LSI than one that is easily told",
            "Figure 7, left: bacterial and viral above normal",
            above,
        ),
        Verdict("noise on the features of one class shifts its LSI up, more with more noise", "Figure 7, right", tuple(shifts)),
    )


def shift(name: str, levels: list[dict[str, Any]]) -> tuple[Check, ...]:
    """Of one class, from no noise to most."""
    means = np.array([kept["mean"] for kept in levels])
    return (
        Check(f"{name}: mean with most noise over none", float(means[-1] / means[0]), ">", 1.5),
        Check(f"{name}: rank correlation of noise and mean", rank_correlation(np.arange(len(means)), means), "≥", 1.0),
        Check(f"{name}: share above the upper quartile without noise", levels[-1]["above"], ">", QUARTER),
    )


def draw(numbers: Numbers) -> Figure:
    """Classes on the left, noise on the right: the mean, and from the lower to the upper quartile."""
    figure, (left, right) = panels(2, height=2.5)
    boxes(left, numbers["classes"], PALETTE[: len(numbers["classes"])])
    left.set_title("no noise", loc="left")
    for (name, levels), colour in zip(numbers["noise"].items(), PALETTE, strict=False):
        x, kept = [float(level) for level in levels], list(levels.values())
        right.plot(x, [each["mean"] for each in kept], marker="o", markersize=3, color=colour, label=plain(name))
        right.fill_between(
            x, [each["q25"] for each in kept], [each["q75"] for each in kept], color=colour, alpha=0.15, linewidth=0
        )
    right.set_yscale("log")
    right.set_title("noise on this class alone: mean, quartiles", loc="left")
    right.legend()
    label_axes(right, "noise (standard deviations of each feature)", LSI_LABEL)
    return figure


EXPERIMENT = Experiment(
    "class_informativeness",
    "Figure 7",
    "Which classes inform most, and what does noise change?",
    0.7,
    measure,
    judge,
    draw,
)

if __name__ == "__main__":
    main(EXPERIMENT)
