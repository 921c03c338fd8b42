"""`lapsi issues`: likely label errors of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Run
from lapsi.results.paths import require_run


def issues(
    run: Run,
    top: Annotated[int, typer.Option("--top", min=0, help="Labels shown.")] = 20,
    threshold: Annotated[
        float | None, typer.Option(help="Flag labels of lower quality. Default: 1 / number of classes, the chance of guessing.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Also write all ranked samples: .csv, .parquet or .json.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Rank likely label errors by what models that never saw the sample say, with the label they suggest.

    Where the run knows the truth (labels changed on purpose, or second labels), how well the errors are found.
    """
    require_run(run)
    from lapsi.cli import issues as work

    work.issues(run, top, threshold, to, force, as_json)
