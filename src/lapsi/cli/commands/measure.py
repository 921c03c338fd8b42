"""`lapsi measure`: other measures beside LSI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Quiet, Run
from lapsi.results.paths import require_run


def measure(
    run: Run,
    *,
    add: Annotated[
        list[str] | None,
        typer.Option(help="el2n, grand, forgetting, psmi, sui or trak; may be given several times. Default: all."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", "--output", help="Run directory to write instead of adding to the run.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Add other measures to a run, in columns of their own, and tell how they rank the samples beside LSI."""
    require_run(run)
    from lapsi.cli import measure as work

    work.measure(run, add, to, force, quiet)
