"""`lapsi show`: a run in a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Run
from lapsi.results.paths import require_run

Extremes = Annotated[int, typer.Option("--extremes", min=0, help="Samples shown at each end of the ranking.")]


def show(run: Run, extremes: Extremes = 10, as_json: AsJson = False) -> None:
    """Summary of a run by class, both ends of its ranking, and its measured accuracy."""
    require_run(run)
    from lapsi.cli import show as work

    work.show(run, extremes, as_json)
