"""Figure 17: LSI under DP-SGD, by clipping norm and by noise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.base import Experiment, Numbers, Setup, main
from experiments.data import cifar10
from experiments.drawing import boxes, panels, ramp
from experiments.summaries import described, rank_correlation
from experiments.verdicts import CODE, PAPER, WAYS, Check, Verdict
from experiments.ways import AS_CODE, AS_PAPER, Way

CLIPPING, NOISE = (0.001, 0.01, 0.1, 1.0, 5.0), (0.0, 8.1, 16.9, 25.5)
CLIPPED_AT = 0.1  # beside the noise
NO_EFFECT = 1.25  # how many times a median may be another that is taken for the same


def recipes(epochs: int, seeds: int) -> dict[str, Way]:
    """As-paper: learning rate 0.04; as-code: 0.004, whatever was asked for, weight decay 0.01, prior 1, fewer samples."""
    private: dict[str, Any] = {"epochs": epochs, "seeds": seeds}
    code = AS_CODE.with_training(**private).with_decay(0.01)
    return {PAPER: AS_PAPER.with_training(**private), CODE: code}


def measure(setup: Setup) -> Numbers:
    """Clipping without noise, and noise at one clipping norm; full batches; the same noise for every model of a seed."""
    data = cifar10(setup, setup.sized(10_000, 1_000, 80))
    n_scored = {PAPER: setup.sized(10_000, 100, 12, 600), CODE: setup.sized(5_000, 50, 12, 300)}
    epochs, seeds = setup.sized(700, 700, 10), setup.sized(5, 2, 2)
    found: Numbers = {"data": f"{data.what}; {n_scored[PAPER]} scored as-paper, {n_scored[CODE]} as-code; {epochs} epochs"}
    for name, way in recipes(epochs, seeds).items():
        rows = np.arange(min(n_scored[name], len(data.y)))
        found[name] = {"clipping": {}, "noise": {}}
        known: dict[tuple[float, float], dict[str, Any]] = {}
        clipped = [("clipping", clip, clip, 0.0) for clip in CLIPPING]
        noised = [("noise", noise, CLIPPED_AT, noise) for noise in NOISE]
        for what, level, clip, noise in clipped + noised:
            if (clip, noise) not in known:
                setup.tell(f"{name}: clipping norm {clip:g}, noise {noise:g}, {len(rows)} of {len(data.y):,} samples")
                private = way.with_training(clip_norm=clip, noise_multiplier=noise)
                known[clip, noise] = described(private.retrained(data.X, data.y, rows).lsi)
            found[name][what][f"{level:g}"] = known[clip, noise]
    return found


def spread(kept: dict[str, Any]) -> float:
    """How many times the 95 % quantile is the 5 % quantile."""
    return float(kept["q95"] / kept["q5"]) if kept["q5"] else math.nan


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Both claims of Appendix H, by medians, and by how far the 5 and the 95 % quantile lie apart."""
    verdicts = []
    for way in WAYS:
        clipped, noised = numbers[way]["clipping"], numbers[way]["noise"]
        medians, spreads = _medians(clipped), [spread(kept) for kept in clipped.values()]
        ranges = [kept["q95"] - kept["q5"] for kept in clipped.values()]
        levels = np.arange(len(clipped))
        times = [max(a, b) / min(a, b) for a in _medians(noised) for b in _medians(noised) if min(a, b) > 0]
        widths = [spread(kept) for kept in noised.values()]
        verdicts += [
            Verdict(
                "a smaller clipping norm gives lower and more even LSI",
                "Figure 17 (one sentence of Appendix H says the opposite)",
                (
                    Check("rank correlation of norm and median", rank_correlation(levels, np.array(medians)), "≥", 0.9),
                    Check("median at the smallest norm over that at the largest", medians[0] / medians[-1], "<", 1.0),
                    Check(
                        "rank correlation of norm and ratio of 95 to 5 %", rank_correlation(levels, np.array(spreads)), "≥", 0.9
                    ),
                    Check("range from 5 to 95 % at the smallest norm over the largest", ranges[0] / ranges[-1], "<", 1.0),
                    Check("ratio of 95 to 5 % at the smallest norm over the largest", spreads[0] / spreads[-1], "<", 1.0),
                ),
                recipe=way,
            ),
            Verdict(
                "noise has no visible effect on the distribution of LSI",
                "Figure 17",
                (
                    Check("largest ratio of two medians", max(times, default=math.nan), "≤", NO_EFFECT),
                    Check("largest ratio of two spreads", max(widths) / min(widths), "≤", 2.0),
                ),
                recipe=way,
            ),
        ]
    return tuple(verdicts)


def _medians(parts: dict[str, Any]) -> list[float]:
    return [kept["q50"] for kept in parts.values()]


def draw(numbers: Numbers) -> Figure:
    """A row a recipe: by clipping norm on the left, by noise on the right."""
    figure, axes = panels(2, 2, height=2.2)
    for row, way in enumerate(WAYS):
        for each, (what, parts) in zip(axes[2 * row :], numbers[way].items(), strict=False):
            boxes(each, parts, ramp(len(parts)))
            titles = {"clipping": "no noise", "noise": f"clipping norm {CLIPPED_AT:g}"}
            labels = {"clipping": "clipping norm", "noise": "noise multiplier"}
            each.set_title(f"{way}, {titles[what]}", loc="left")
            each.set_xlabel(labels[what])
            each.set_ylabel("LSI (nats)")
        for first, second in pairwise(axes[2 * row : 2 * row + 2]):
            low, high = min(first.get_ylim()[0], second.get_ylim()[0]), max(first.get_ylim()[1], second.get_ylim()[1])
            first.set_ylim(low, high)
            second.set_ylim(low, high)
    return figure


EXPERIMENT = Experiment("privacy", "Figure 17", "What do clipping and noise of DP-SGD do to LSI?", 8.0, measure, judge, draw)

if __name__ == "__main__":
    main(EXPERIMENT)
