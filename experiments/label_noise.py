"""Figure 5: a tenth of the labels flipped to any other class; do mislabelled samples have higher LSI?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import FULL, Experiment, Numbers, Setup, main, number
from experiments.data import Data, cifar10, digits, official
from experiments.drawing import distributions, panels
from experiments.summaries import auroc, described, median_ratio
from experiments.verdicts import CODE, PAPER, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER
from lapsi.data.corruption import flip_labels
from lapsi.plots.style import HIGH, LOW

SHARE = 0.1


def sets(setup: Setup) -> dict[str, Data]:
    """CIFAR-10 and pneumonia, for which digits stand in at small scale."""
    if setup.scale == FULL:
        return {"cifar10": official(setup, "cifar10"), "pneumonia": official(setup, "pneumonia")}
    data = cifar10(setup, setup.sized(0, 10_000, 150))
    return {"digits": data} if data.stand_in else {"cifar10": data, "digits": digits(setup)}


def flipped(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of which a tenth is flipped, and which ones."""
    y = flip_labels(data.y, len(data.classes), SHARE, np.random.default_rng(0))
    return y, y != data.y


def told(lsi: np.ndarray, touched: np.ndarray) -> dict[str, Any]:
    """How LSI of flipped samples stands to that of the others."""
    return {
        "right labels": described(lsi[~touched]),
        "flipped labels": described(lsi[touched]),
        "auroc": auroc(touched, lsi),
        "above_all_right": float((lsi[touched] > lsi[~touched].max()).mean()) if touched.any() else math.nan,
    }


def measure(setup: Setup) -> Numbers:
    """As-paper of all samples; as-code of the first ones."""
    parts = sets(setup)
    found = {}
    for name, data in parts.items():
        setup.tell(f"{name}: {len(data.y):,} samples")
        y, touched = flipped(data)
        found[name] = told(AS_PAPER.closed_form(data.X, y).lsi, touched)
    name, data = next(iter(parts.items()))
    y, touched = flipped(data)
    rows = np.arange(min(AS_CODE.first or 0, len(y)))
    setup.tell(f"{name}, as-code: {len(rows)} samples")
    way = AS_CODE.with_training(epochs=setup.sized(1000, 1000, 20))
    code = told(way.retrained(data.X, y, rows).lsi, touched[rows])
    return {"data": "; ".join(each.what for each in parts.values()), "sets": found, CODE: code, PAPER: AS_PAPER.says}


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Medians twice as high and areas under the ROC curve; some flipped samples above every right one."""
    claim = "mislabelled samples have substantially higher LSI on average"
    higher = tuple(check for name, kept in numbers["sets"].items() for check in rule(name, kept))
    code = rule("first 50 samples", numbers[CODE])
    beyond = tuple(
        Check(f"{name}: flipped samples above every right one (%)", 100 * number(kept["above_all_right"]), ">", 0.0)
        for name, kept in numbers["sets"].items()
    )
    return (
        Verdict(claim, "Figure 5: CIFAR-10, pneumonia", higher),
        Verdict(claim, "Figure 5", code, recipe=CODE),
        Verdict("a portion of mislabelled samples is above every rightly labelled one", "Figure 5", beyond),
    )


def rule(name: str, kept: dict[str, Any]) -> tuple[Check, ...]:
    """What "substantially higher" is taken for."""
    ratio = median_ratio(kept["flipped labels"], kept["right labels"])
    return Check(f"{name}: median over right labels", ratio, "≥", 2.0), Check(f"{name}: AUROC", number(kept["auroc"]), "≥", 0.8)


def draw(numbers: Numbers) -> Figure:
    """A panel a data set."""
    figure, axes = panels(len(numbers["sets"]), height=2.5)
    for each, (name, kept) in zip(axes, numbers["sets"].items(), strict=True):
        parts = {word: kept[word] for word in ("right labels", "flipped labels")}
        distributions(each, parts, (LOW, HIGH), f"{name}: AUROC {number(kept['auroc']):.3f}")
    return figure


EXPERIMENT = Experiment("label_noise", "Figure 5", "Do samples with flipped labels have higher LSI?", 2.5, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
