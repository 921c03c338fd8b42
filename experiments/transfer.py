"""Figure 9 and Appendix J: the thirds that a probe finds, taught to networks that see the pixels.

On CIFAR-10; Appendix J has the same of CIFAR-100, and of a ResNet-18 on larger images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import pictures
from experiments.drawing import panels
from experiments.nets import perceptron, resnet_9, resnet_18, three_convolutions
from experiments.training import THIRDS, Schedule, curve, end_of, mean_curves, thirds
from experiments.verdicts import CODE, PAPER, WAYS, Check, Verdict
from experiments.ways import AS_PAPER
from lapsi.plots.style import PALETTE, label_axes, plain

SAME = 0.01  # accuracies within a percent are taken for the same
FIGURE_9 = "ResNet-9"
Made = Callable[[int], nn.Module]


def networks(setup: Setup) -> dict[str, Made]:
    """Those of Appendix J on CIFAR; at small scale the residual ones are narrower."""
    nine, eighteen = setup.sized(64, 16, 4), setup.sized(64, 8, 4)
    residual = {FIGURE_9: partial(resnet_9, width=nine), "ResNet-18": partial(resnet_18, width=eighteen)}
    return {"MLP": perceptron, "CNN": three_convolutions, **residual}


def schedule_of(setup: Setup, way: str, name: str) -> Schedule:
    """As-paper: one learning rate for all; as-code: by network, falling every quarter of the training."""
    published = {"MLP": (600, 0.005), "CNN": (700, 0.004)}
    epochs, rate = published.get(name, (150, 0.01))
    short = setup.sized(None, 30, 2)
    batch, looks = setup.sized(512, 64, 16), setup.sized(25, 10, 3)
    if way == PAPER:
        return Schedule(short or 1000, 0.04, 0.01, batch, looks=looks)
    return Schedule(short or epochs, rate, 0.01, batch, step=max(1, (short or epochs) // 4), factor=0.6, looks=looks)


def inputs_of(pixels: np.ndarray) -> Tensor:
    """(N, 3, 32, 32) from −1 to 1, channels last in memory, as convolutions of 3 × 3 like them best."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def measure(setup: Setup) -> Numbers:
    """Accuracies of every network on every third, means over trainings."""
    shown = pictures(setup, setup.sized(None, 2_000, 120))
    y, y_test = torch.from_numpy(shown.y), torch.from_numpy(shown.y_test)
    parts = thirds(AS_PAPER.closed_form(shown.X, shown.y))
    # on channels last, oneDNN 3.12 writes beyond its memory in strided 1 × 1 convolutions of few channels (its issue 6035)
    inputs, test = inputs_of(shown.pixels).contiguous(), (inputs_of(shown.pixels_test).contiguous(), y_test)
    found: dict[str, Any] = {way: {} for way in WAYS}
    for name, make in networks(setup).items():
        for way in WAYS if name != "ResNet-18" else WAYS[:1]:
            schedule = schedule_of(setup, way, name)
            setup.tell(f"{name}, {way}: {schedule.epochs} epochs of {', '.join(f'{len(rows):,}' for rows in parts.values())}")
            found[way][name] = {
                third: mean_curves(
                    [
                        curve(seeded(make, seed, int(y.max()) + 1), (inputs[rows], y[rows]), test, schedule)
                        for seed in range(setup.sized(3, 1, 1))
                    ]
                )
                for third, rows in parts.items()
            }
    return {"data": shown.what, "networks": found}


def seeded(make: Made, seed: int, n_classes: int) -> nn.Module:
    """A network from initial weights of a seed."""
    torch.manual_seed(seed)
    return make(n_classes)


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """How fast a third is fitted is the mean of its train accuracy over the training."""
    verdicts = []
    for way in WAYS:
        others = [name for name in numbers["networks"][way] if name != FIGURE_9]
        for where, wanted in (("Figure 9", [FIGURE_9]), ("Appendix J", others)):
            kept = {name: numbers["networks"][way][name] for name in wanted}
            verdicts += [
                Verdict(
                    f"the order of the probe holds for {', '.join(wanted)}: low is fitted first, high last",
                    where,
                    tuple(
                        Check(f"{name}: mean train accuracy of {a} over {b}", mean_of(parts[a]) - mean_of(parts[b]), ">", 0.0)
                        for name, parts in kept.items()
                        for a, b in (("low", "mid"), ("mid", "high"))
                    ),
                    recipe=way,
                ),
                Verdict(
                    f"{', '.join(wanted)}: low generalises slightly worse than mid, high worst",
                    where,
                    tuple(
                        Check(f"{name}: test accuracy of {a} over {b}", end[a]["test"] - end[b]["test"], ">", bound)
                        for name, parts in kept.items()
                        for end in (end_of(parts),)
                        for a, b, bound in (("mid", "low", -SAME), ("low", "high", 0.0))
                    ),
                    recipe=way,
                ),
            ]
    return tuple(verdicts)


def mean_of(kept: dict[str, list[float]]) -> float:
    """The mean train accuracy over the training."""
    return float(np.mean(kept["train"]))


def draw(numbers: Numbers) -> Figure:
    """Train accuracy above, test accuracy below, a column a network; as-code dashed."""
    found = numbers["networks"]
    names = list(found[PAPER])
    figure, axes = panels(len(names), 2, height=2.1, width=2.2)
    for column, name in enumerate(names):
        for row, part in enumerate(("train", "test")):
            each = axes[row * len(names) + column]
            for way, line in ((PAPER, "-"), (CODE, "--")):
                for third, colour in zip(THIRDS, PALETTE, strict=False):
                    if name in found[way]:
                        kept = found[way][name][third]
                        each.plot(kept["epoch"], kept[part], line, color=colour, label=third if way == PAPER else None)
            each.set_title(plain(name) if row == 0 else "", loc="left")
            label_axes(each, "epoch" if row else "", f"{part} accuracy" if column == 0 else "")
            each.set_ylim(0, 1.02)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, [f"{label} third" for label in labels], loc="outside upper left", ncols=3, title=f"dashed: {CODE}")
    return figure


EXPERIMENT = Experiment(
    "transfer", "Figure 9, Appendix J", "Do the thirds of the probe teach larger networks alike?", 7.0, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
