"""`lapsi plot`: one figure of one run or more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.axes import Axes

from lapsi import plots
from lapsi.cli.options import Force
from lapsi.cli.terminal import say, told
from lapsi.errors import InputError
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores

KINDS = ("distribution", "by-class", "corrupted", "correlation", "training")


def plot(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to draw.")],
    runs: Annotated[list[Path], typer.Argument(help="Run directories: several for distribution, two for correlation.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .png, .svg or .pdf.")],
    force: Force = False,
) -> None:
    """Draw a figure fit for a paper: a column wide, safe for colour-blind eyes."""
    scores = {str(run): Scores.load(run) for run in runs}
    axes = _draw(kind, scores)
    write_file(output, lambda path: plots.save(axes, path), force)
    with told(output):
        say(f"{kind} to {output}")


def _draw(kind: str, scores: dict[str, Scores]) -> Axes:
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no figure; expected one of {', '.join(KINDS)}.")
    several = {"distribution": range(1, 100), "correlation": (2,)}.get(kind, (1,))
    if len(scores) not in several:
        raise InputError(
            f"{kind} was given {len(scores)} runs; expected {'two different ones' if kind == 'correlation' else 'one'}."
        )
    values = list(scores.values())
    if kind == "distribution":
        return plots.distribution(scores if len(values) > 1 else values[0])
    if kind == "correlation":
        first, second = scores
        return plots.correlation(values[0], values[1], (first, second))
    return {"by-class": plots.by_class, "corrupted": plots.corrupted, "training": plots.training}[kind](values[0])
