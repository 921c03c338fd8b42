"""Figure 8: probes trained on the thirds of a data set by LSI; how well they fit, and how well they predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from experiments.base import FULL, Experiment, Numbers, Setup, main
from experiments.data import Data, cifar10, digits, official
from experiments.drawing import panels
from experiments.training import THIRDS, Schedule, curve, end_of, mean_curves, thirds
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.plots.style import PALETTE, label_axes, plain

CLOSE = 0.01  # accuracies within a percent are taken for the same


def sets(setup: Setup) -> dict[str, Data]:
    """The data sets of the paper; at small scale those at hand."""
    if setup.scale == FULL:
        return {name: official(setup, name) for name in ("cifar10", "cifar100", "imagenette", "imagewoof", "pneumonia")}
    data = cifar10(setup, setup.sized(0, 10_000, 150))
    return {"digits": data} if data.stand_in else {"cifar10": data, "digits": digits(setup)}


def schedules(setup: Setup) -> dict[str, Schedule]:
    """As-paper: a constant rate; as-code: one that falls every quarter of the training."""
    epochs = setup.sized(500, 500, 40)
    return {
        PAPER: Schedule(epochs, 0.04, 0.01),
        CODE: Schedule(epochs, 0.004, 0.01, step=max(1, epochs // 4), factor=0.6),
    }


def measure(setup: Setup) -> Numbers:
    """Accuracies of both recipes, three trainings each."""
    found: dict[str, Any] = {}
    parts = sets(setup)
    for name, data in parts.items():
        scores = AS_PAPER.closed_form(data.X, data.y)
        centre, spread = data.X.mean(0), np.where(data.X.std(0) > 0, data.X.std(0), 1)
        X, X_test = (torch.from_numpy((each - centre) / spread).float() for each in (data.X, data.X_test))
        y, y_test = torch.from_numpy(data.y), torch.from_numpy(data.y_test)
        found[name] = {}
        for way, schedule in schedules(setup).items():
            found[name][way] = {}
            for third, rows in thirds(scores).items():
                setup.tell(f"{name}, {way}, {third}: {len(rows):,} samples")
                curves = []
                for seed in range(setup.sized(3, 3, 1)):
                    torch.manual_seed(seed)
                    probe = nn.Linear(X.shape[1], len(data.classes))
                    curves.append(curve(probe, (X[rows], y[rows]), (X_test, y_test), schedule))
                found[name][way][third] = mean_curves(curves)
    return {"data": "; ".join(each.what for each in parts.values()), "sets": found}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Of the accuracies at the end, of both recipes on every data set."""
    verdicts = []
    for way in (PAPER, CODE):
        ends = {name: end_of(kept[way]) for name, kept in numbers["sets"].items()}
        verdicts += [
            Verdict(
                "the less LSI, the easier a third is to fit: train accuracy falls from low to high",
                "Figure 8, left",
                tuple(
                    check
                    for name, end in ends.items()
                    for check in (
                        Check(f"{name}: train accuracy of low over mid", end["low"]["train"] - end["mid"]["train"], ">", CLOSE),
                        Check(
                            f"{name}: train accuracy of low over high", end["low"]["train"] - end["high"]["train"], ">", CLOSE
                        ),
                        Check(
                            f"{name}: train accuracy of mid over high", end["mid"]["train"] - end["high"]["train"], "≥", -CLOSE
                        ),
                    )
                ),
                recipe=way,
            ),
            Verdict(
                "the middle third gives the best test accuracy",
                "Figure 8, right",
                tuple(
                    Check(f"{name}: test accuracy of mid over {other}", end["mid"]["test"] - end[other]["test"], ">", 0.0)
                    for name, end in ends.items()
                    for other in ("low", "high")
                ),
                recipe=way,
            ),
            Verdict(
                "the middle third has the smallest gap between train and test accuracy",
                "Figure 8",
                tuple(
                    Check(f"{name}: gap of {other} over that of mid", gap(end[other]) - gap(end["mid"]), ">", 0.0)
                    for name, end in ends.items()
                    for other in ("low", "high")
                ),
                recipe=way,
            ),
        ]
    return tuple(verdicts)


def gap(end: dict[str, float]) -> float:
    """How far train and test accuracy lie apart."""
    return abs(end["train"] - end["test"])


def draw(numbers: Numbers) -> Figure:
    """Train accuracy on the left, test accuracy on the right, a row a data set; as-code dashed."""
    figure, axes = panels(2, len(numbers["sets"]), height=2.3)
    for row, (name, kept) in enumerate(numbers["sets"].items()):
        for column, part in enumerate(("train", "test")):
            each = axes[2 * row + column]
            for way, line in ((PAPER, "-"), (CODE, "--")):
                for third, colour in zip(THIRDS, PALETTE, strict=False):
                    label = third if way == PAPER else None
                    each.plot(kept[way][third]["epoch"], kept[way][third][part], line, color=colour, label=label)
            each.set_title(plain(f"{name}, dashed: {CODE}") if column == 0 else "", loc="left")
            label_axes(each, "epoch", f"{part} accuracy")
        axes[2 * row].legend(title="third by LSI", title_fontsize=7, loc="lower right")
    return figure


EXPERIMENT = Experiment(
    "learnability", "Figure 8", "Is LSI how hard a sample is to learn, and what does it teach?", 2.5, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
