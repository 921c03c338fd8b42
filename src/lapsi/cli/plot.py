"""`lapsi plot`: one figure of one run or more."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from lapsi import plots
from lapsi.cli.terminal import say, told
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores


def plot(kind: str, runs: list[Path], output: Path, force: bool) -> None:
    """Draws a figure of one run or more."""
    scores = {str(run): Scores.load(run) for run in runs}
    axes = _draw(kind, scores)
    write_file(output, lambda path: plots.save(axes, path), force)
    with told(output):
        say(f"{kind} to {output}")


def _draw(kind: str, scores: dict[str, Scores]) -> Axes:
    values = list(scores.values())
    if kind == "distribution":
        return plots.distribution(scores if len(values) > 1 else values[0])
    if kind == "correlation":
        first, second = scores
        return plots.correlation(values[0], values[1], (first, second))
    if kind == "residuals":
        return plots.residuals(values[0])
    of_one = {
        "by-class": plots.by_class,
        "corrupted": plots.corrupted,
        "regularization": plots.regularization,
        "training": plots.training,
        "measures": plots.measures,
    }
    return of_one[kind](values[0])
