"""`lapsi plot`: one figure of one run or more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force
from lapsi.errors import InputError, meant
from lapsi.results.paths import require_run

KINDS = ("distribution", "by-class", "corrupted", "correlation", "training", "regularization", "residuals", "measures")


def plot(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS), help="What to draw.")],
    runs: Annotated[list[Path], typer.Argument(help="Run directories: several for distribution, two for correlation.")],
    output: Annotated[Path, typer.Option("--output", "-o", "--to", help="File to write: .png, .svg or .pdf.")],
    force: Force = False,
) -> None:
    """Draw a figure fit for a paper: a column wide, safe for colour-blind eyes."""
    for run in runs:
        require_run(run)
    _require_kind(kind, len(set(map(str, runs))))
    from lapsi.cli import plot as work

    work.plot(kind, runs, output, force)


def _require_kind(kind: str, n_runs: int) -> None:
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no figure; expected one of {', '.join(KINDS)}.{meant(kind, KINDS)}")
    several = {"distribution": range(1, 100), "correlation": (2,)}.get(kind, (1,))
    if n_runs not in several:
        raise InputError(
            f"{kind} was given {n_runs} runs; expected {'two different ones' if kind == 'correlation' else 'one'}."
        )
