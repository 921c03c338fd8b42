"""Figure 15: LSI on a data set and on a tenth of it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import cifar10
from experiments.drawing import distributions, panels
from experiments.summaries import described, median_ratio
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER
from lapsi.plots.style import HIGH, LOW

PARTS = 10
WHOLE, PART = "all samples", "a tenth of them"


def measure(setup: Setup) -> Numbers:
    """As-paper of all samples of both sizes; as-code of the first ones."""
    data = cifar10(setup, setup.sized(None, 10_000, 150))
    way = AS_CODE.with_training(epochs=setup.sized(1000, 1000, 20))
    found: Numbers = {"data": data.what, PAPER: {}, CODE: {}}
    n_part = len(data.y) // (PARTS if setup.scale != "tiny" else 2)
    for name, n in ((WHOLE, len(data.y)), (PART, n_part)):
        setup.tell(f"{name}: {n:,} samples")
        X, y = data.X[:n], data.y[:n]
        found[PAPER][name] = described(AS_PAPER.closed_form(X, y).lsi)
        found[CODE][name] = described(way.retrained(X, y, np.arange(min(AS_CODE.first or 0, n))).lsi)
    found["times_smaller"] = len(data.y) / n_part
    return found


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """An order of magnitude is taken for a factor from 10^½ to 10^1½ at a tenth of the size."""
    claim = "LSI rises by about an order of magnitude at a tenth of the size"
    exponent = 0.5 * np.log10(numbers["times_smaller"])
    return tuple(
        Verdict(
            claim,
            "Figure 15: about 10 times",
            (
                Check("median of the part over the whole", ratio, "≥", float(10**exponent)),
                Check("median of the part over the whole", ratio, "≤", float(10 ** (3 * exponent))),
            ),
            recipe=recipe,
        )
        for recipe in (PAPER, CODE)
        for ratio in (median_ratio(numbers[recipe][PART], numbers[recipe][WHOLE]),)
    )


def draw(numbers: Numbers) -> Figure:
    """A line a size."""
    figure, (axes,) = panels(height=2.5)
    times = median_ratio(numbers[PAPER][PART], numbers[PAPER][WHOLE])
    distributions(axes, {name: numbers[PAPER][name] for name in (WHOLE, PART)}, (LOW, HIGH), f"medians: {times:.1f} times")
    return figure


EXPERIMENT = Experiment("dataset_size", "Figure 15", "Does LSI rise as the data set shrinks?", 3.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
