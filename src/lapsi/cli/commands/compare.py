"""`lapsi compare`: how far two runs agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson
from lapsi.results.paths import require_run


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run directory.")],
    run_b: Annotated[Path, typer.Argument(help="Run directory to compare it with; samples are matched by id.")],
    extremes: Annotated[int, typer.Option("--extremes", min=0, help="Samples shown whose rank differs most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """How far two runs agree: correlations, the top of the ranking in common, the samples that differ most."""
    require_run(run_a)
    require_run(run_b)
    from lapsi.cli import compare as work

    work.compare(run_a, run_b, extremes, as_json)
