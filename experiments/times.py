"""Table 3: how long LSI of all samples takes, by retraining and in closed form, beside the hours of the paper on an H100."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main, number
from experiments.data import Data, cifar10
from experiments.drawing import panels
from experiments.verdicts import Check, Verdict, shown
from experiments.ways import AS_PAPER
from lapsi.plots.style import HIGH, INK, LOW, label_axes

HOURS = {"CIFAR-10": 18.0, "pneumonia": 0.5, "Imagenette": 1.7}  # of the paper; CIFAR-100 18, Imagewoof 1.7
SHAPES = {"CIFAR-10": (50_000, 10), "pneumonia": (5_216, 3), "Imagenette": (9_469, 10)}
HOUR = 3600.0


def shaped(data: Data, n: int, n_classes: int) -> Data:
    """As many samples and classes as a data set of the paper has, as far as there are so many."""
    part = data if n_classes >= len(data.classes) else data.of_classes(data.classes[:n_classes])
    return part.take(np.arange(min(n, len(part.y))))


def retraining_seconds(data: Data, n_models: int, epochs: int) -> float:
    """Of one model and epoch, many trained at once: what more epochs take, so that all that is done once is left out.

    NaN where that is too little to be measured.
    """
    rows = np.arange(min(n_models, len(data.y)))
    took = []
    for each in (epochs, 3 * epochs):
        way = AS_PAPER.with_training(epochs=each, seeds=1)
        start = time.perf_counter()
        way.retrained(data.X, data.y, rows)
        took.append(time.perf_counter() - start)
    more = took[1] - took[0]
    return more / (2 * epochs * len(rows)) if more > 0 else math.nan


def measure(setup: Setup) -> Numbers:
    """The closed form is run; retraining is timed on some models and epochs, and multiplied up to all, 1000 epochs, 3 seeds."""
    whole = cifar10(setup, setup.sized(None, None, 150))
    found = {}
    for name, (n, n_classes) in SHAPES.items():
        data = shaped(whole, n, n_classes)
        setup.tell(f"as large as {name}: {len(data.y):,} samples, {len(data.classes)} classes")
        start = time.perf_counter()
        AS_PAPER.closed_form(data.X, data.y)
        closed = time.perf_counter() - start
        one = retraining_seconds(data, setup.sized(64, 32, 4), setup.sized(20, 8, 2))
        recipe = AS_PAPER.training
        found[name] = {
            "n_samples": len(data.y),
            "asked": n,
            "closed_form_hours": closed / HOUR,
            "seconds_a_model_and_epoch": one,
            "retraining_hours": one * len(data.y) * recipe.epochs * recipe.seeds / HOUR,
        }
    return {"data": f"{whole.what}, cut to the sizes of the data sets of the paper", "sizes": found}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """In the shapes that were there in full."""
    there = {name: kept for name, kept in numbers["sizes"].items() if kept["n_samples"] == kept["asked"]}
    if not there:
        untested = "the data at hand have not as many samples as a data set of the paper"
        return tuple(Verdict(claim, "Table 3", untested=untested) for claim in CLAIMS)
    hours = {name: f"{HOURS[name]:g} h {name}" for name in there}
    closed = tuple(
        Check(f"{name}: hours in closed form on this CPU", kept["closed_form_hours"], "≤", HOURS[name])
        for name, kept in there.items()
    )
    retrained = tuple(
        Check(f"{name}: hours by retraining on this CPU", number(kept["retraining_hours"]), "≤", 10 * HOURS[name])
        for name, kept in there.items()
    )
    paper = f"Table 3 (H100): {', '.join(hours.values())}"
    return Verdict(CLAIMS[0], paper, closed), Verdict(CLAIMS[1], paper, retrained)


CLAIMS = (
    "LSI of all samples takes hours: the closed form takes no longer, on a CPU",
    "retraining for all samples takes hours: on this CPU at most ten times those of an H100",
)


def draw(numbers: Numbers) -> Figure:
    """Bars on a logarithmic axis of hours, three a data set."""
    figure, (axes,) = panels(height=2.6, width=4.6)
    sizes = numbers["sizes"]
    kinds = {
        "paper, H100": (INK, [HOURS[name] for name in sizes]),
        "retraining, this CPU": (HIGH, [number(kept["retraining_hours"]) for kept in sizes.values()]),
        "closed form, this CPU": (LOW, [kept["closed_form_hours"] for kept in sizes.values()]),
    }
    above: dict[str, Any] = {"xytext": (0, 1), "textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 6}
    for place, (label, (colour, values)) in enumerate(kinds.items()):
        where = np.arange(len(values)) + 0.27 * (place - 1)
        axes.bar(where, values, 0.25, color=colour, alpha=0.8, label=label)
        for x, value in zip(where, values, strict=True):
            if math.isfinite(value):
                axes.annotate(shown(value), (x, value), **above)
    axes.set_yscale("log")
    axes.set_xticks(range(len(sizes)), [f"{name}\n{kept['n_samples']:,}" for name, kept in sizes.items()])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, borderaxespad=0.2, handlelength=1.0)
    label_axes(axes, "", "hours")
    return figure


EXPERIMENT = Experiment("times", "Table 3", "How long does LSI of all samples take?", 5.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
