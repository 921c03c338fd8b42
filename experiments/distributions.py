"""Figure 1: how LSI is distributed over a data set, and whether harder data sets and smaller ones have more of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import FULL, Experiment, Numbers, Setup, main
from experiments.data import Data, cifar10, digits, official
from experiments.drawing import distributions, panels
from experiments.summaries import described, median_ratio, skewness
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER
from lapsi.plots.style import PALETTE

OFFICIAL = ("cifar10", "cifar100", "imagenette", "imagewoof", "pneumonia")
EASY, HARD = ("airplane", "automobile", "ship", "truck"), ("bird", "cat", "deer", "dog")
EASY_DIGITS, HARD_DIGITS = ("0", "4", "6", "7"), ("1", "3", "8", "9")


def sets(setup: Setup) -> dict[str, Data]:
    """The data sets by name; at small scale those at hand, and two halves of one that differ in difficulty alone."""
    if setup.scale == FULL:
        return {name: official(setup, name) for name in OFFICIAL}
    whole = cifar10(setup, setup.sized(0, 10_000, 200))
    names = (EASY_DIGITS, HARD_DIGITS) if whole.stand_in else (EASY, HARD)
    halves = {what: whole.of_classes(part) for what, part in zip(("easier classes", "harder classes"), names, strict=True)}
    n = min(len(each.y) for each in halves.values())
    first = {} if whole.stand_in else {"cifar10": whole}
    return first | {"digits": digits(setup)} | {name: each.take(np.arange(n)) for name, each in halves.items()}


def measure(setup: Setup) -> Numbers:
    """LSI of every sample as-paper, of the first as-code."""
    found, told, tails = {}, {}, {}
    for name, data in sets(setup).items():
        setup.tell(f"{name}: {len(data.y):,} samples")
        lsi = AS_PAPER.closed_form(data.X, data.y).lsi
        found[name], told[name], tails[name] = described(lsi), data.what, skewness(lsi)
    name, data = next(iter(sets(setup).items()))
    rows = range(min(AS_CODE.first or 0, len(data.y)))
    setup.tell(f"{name}, as-code: {len(rows)} samples")
    way = AS_CODE.with_training(epochs=setup.sized(1000, 1000, 20))
    lsi = way.retrained(data.X, data.y, rows).lsi
    code = {"name": name, **described(lsi), "skewness": skewness(lsi)}
    return {"data": "; ".join(told.values()), "sets": found, "skewness": tails, PAPER: AS_PAPER.says, CODE: code}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Long tails as skewness above 1 and a mean above the median; one set above another by medians."""
    parts, tails = numbers["sets"], numbers["skewness"]
    claim = "LSI is long-tailed: most samples have little, few have much"
    long = tuple(
        check
        for name, kept in parts.items()
        for check in (
            Check(f"{name}: skewness", tails[name], "≥", 1.0),
            Check(f"{name}: mean over median", kept["mean"] / kept["q50"], "≥", 1.5),
        )
    )
    code = numbers[CODE]
    return (
        Verdict(claim, "Figure 1: all data sets", long),
        Verdict(claim, "Figure 1", (Check(f"{code['name']}: skewness", code["skewness"], "≥", 1.0),), recipe=CODE),
        above(parts, "cifar100", "cifar10", "CIFAR-100 has higher LSI than CIFAR-10"),
        above(parts, "imagewoof", "imagenette", "the harder Imagewoof has higher LSI than Imagenette"),
        above(parts, "harder classes", "easier classes", "a harder data set of the same size has higher LSI"),
        above(parts, "imagenette", "cifar10", "the smaller Imagenette has LSI about an order above CIFAR-10", 3.0),
    )


def above(parts: dict[str, Any], high: str, low: str, claim: str, times: float = 1.0) -> Verdict:
    """Whether the median of one data set is more than so many times that of another."""
    missing = [name for name in (high, low) if name not in parts]
    if missing:
        return Verdict(claim, "Figure 1", untested=f"{' and '.join(missing)} not at hand at this scale")
    ratio = Check(f"median LSI of {high} over {low}", median_ratio(parts[high], parts[low]), ">", times)
    return Verdict(claim, "Figure 1", (ratio,))


def draw(numbers: Numbers) -> Figure:
    """A line a data set."""
    figure, (axes,) = panels(height=2.5, width=4.2)
    distributions(axes, numbers["sets"], PALETTE)
    return figure


EXPERIMENT = Experiment("distributions", "Figure 1", "How is LSI distributed over data sets?", 3.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
