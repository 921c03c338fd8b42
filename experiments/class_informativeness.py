"""Figure 7: LSI by class, and of a class whose features get more and more Gaussian noise."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import FULL, Experiment, Numbers, Setup, main
from experiments.data import Data, cifar10, official
from experiments.drawing import boxes, distributions, panels, ramp
from experiments.summaries import described, median_ratio, rank_correlation
from experiments.verdicts import PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.plots.style import PALETTE

LEVELS = (0.0, 0.5, 1.0, 2.0)
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
    """LSI by class, at each level of noise on the distinct one."""
    data, roles = three_classes(setup)
    (name,) = roles[DISTINCT]
    by_level = {}
    for level in LEVELS:
        setup.tell(f"noise {level:g} on {name}: {len(data.y):,} samples")
        lsi = AS_PAPER.closed_form(noisy(data, name, level), data.y).lsi
        by_level[f"{level:g}"] = {each: described(lsi[data.y == code]) for code, each in enumerate(data.classes)}
    return {"data": data.what, "roles": roles, "levels": by_level, PAPER: AS_PAPER.says}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """By medians."""
    (name,), levels = numbers["roles"][DISTINCT], numbers["levels"]
    clean = levels["0"]
    above = tuple(
        Check(f"median of {other} over {name}", median_ratio(clean[other], clean[name]), ">", 1.0)
        for other in numbers["roles"][ALIKE]
    )
    medians = np.array([kept[name]["q50"] for kept in levels.values()])
    most = list(levels)[-1]
    return (
        Verdict(
            "classes that are hard to tell apart have higher LSI than one that is easily told",
            "Figure 7, left: bacterial and viral above normal",
            above,
        ),
        Verdict(
            "noise on the features of one class shifts its LSI up, more with more noise",
            "Figure 7, right",
            (
                Check(f"median of {name} with noise {most} over none", float(medians[-1] / medians[0]), ">", 1.5),
                Check("rank correlation of level and median", rank_correlation(np.arange(len(medians)), medians), "≥", 1.0),
            ),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Classes on the left, levels of noise on the right."""
    (name,), levels = numbers["roles"][DISTINCT], numbers["levels"]
    figure, (left, right) = panels(2, height=2.5)
    boxes(left, levels["0"], PALETTE[: len(levels["0"])])
    left.set_title("by class, no noise", loc="left")
    parts = {f"noise {level}": kept[name] for level, kept in levels.items()}
    distributions(right, parts, ramp(len(parts)), f"class {name}")
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
