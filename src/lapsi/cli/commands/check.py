"""`lapsi check`: a curator's other questions about the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Quiet, Run
from lapsi.results.paths import require_run


def check(
    run: Run,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", "--output", help="Run directory to write instead of adding to the run.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find duplicates, leaks between splits or groups, outliers, confused classes, weak groups and features that tell labels.

    Each becomes columns of the run, which the report filters by. The data are opened again, but of networks, whose runs
    keep their features; runs without features (of pairs) are asked what needs none. Needs the extra 'check'.
    """
    require_run(run)
    from lapsi.cli import check as work

    work.check(run, to, force, quiet, as_json)
