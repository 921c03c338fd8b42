"""`lapsi issues`: likely errors of the targets of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Run
from lapsi.results.paths import require_run


def issues(
    run: Run,
    top: Annotated[int, typer.Option("--top", min=0, help="Rows shown.")] = 20,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Flag targets of lower quality, a probability. Default: 1 / number of classes, the chance of guessing (1/3 "
            "for two; 0.5 for several labels a sample); for numbers 0.0027, three standard deviations."
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            "-o",
            "--output",
            help="Also write all, the least trusted first: .csv, .tsv, .parquet, .feather or .json.",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Rank likely errors by what models that never saw the sample say: of labels with the label they suggest, of numbers with
    the value they predict; with several labels a sample, label by label.

    Where the run knows the truth (targets changed on purpose, or second ones), how well the errors are found.
    """
    require_run(run)
    from lapsi.cli import issues as work

    work.issues(run, top, threshold, to, force, as_json)
