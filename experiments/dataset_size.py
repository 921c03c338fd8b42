"""Figure 15: LSI on a data set and on a tenth of it."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import cifar10
from experiments.drawing import distributions, panels
from experiments.summaries import described, median_ratio
from experiments.verdicts import CODE, PAPER, WAYS, Check, Verdict
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
    """Off what the size says by at most half of it in powers of ten: from 3 to 32 times at a tenth."""
    claim = "LSI rises by about an order of magnitude at a tenth of the size"
    smaller = math.log10(numbers["times_smaller"])
    verdicts = []
    for way in WAYS:
        ratio = median_ratio(numbers[way][PART], numbers[way][WHOLE])
        off = abs(math.log10(ratio) - smaller) if ratio > 0 else math.nan
        checks = (
            Check("median of the part over the whole", ratio, ">", 1.0),
            Check(f"powers of ten off {numbers['times_smaller']:.3g} times", off, "≤", smaller / 2),
        )
        verdicts.append(Verdict(claim, "Figure 15: about 10 times", checks, way))
    return tuple(verdicts)


def draw(numbers: Numbers) -> Figure:
    """A line a size."""
    figure, (axes,) = panels(height=2.5)
    times = median_ratio(numbers[PAPER][PART], numbers[PAPER][WHOLE])
    distributions(axes, {name: numbers[PAPER][name] for name in (WHOLE, PART)}, (LOW, HIGH), f"medians: {times:.1f} times")
    return figure


EXPERIMENT = Experiment("dataset_size", "Figure 15", "Does LSI rise as the data set shrinks?", 3.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
