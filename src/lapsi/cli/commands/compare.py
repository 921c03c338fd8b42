"""`lapsi compare`: how far two runs agree, or the measures of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson
from lapsi.errors import InputError
from lapsi.results.paths import require_run


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run directory.")],
    run_b: Annotated[Path | None, typer.Argument(help="Run directory to compare it with; samples are matched by id.")] = None,
    measures: Annotated[bool, typer.Option("--measures", help="Compare the measures of one run instead.")] = False,
    extremes: Annotated[int, typer.Option("--extremes", min=0, help="Samples shown whose rank differs most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """How far two runs agree: correlations, the top of the ranking in common, the samples that differ most."""
    if (run_b is None) != measures:
        raise InputError("Give two runs, or one and --measures.")
    require_run(run_a)
    if run_b is not None:
        require_run(run_b)
    from lapsi.cli import compare as work

    if run_b is None:
        work.compare_measures(run_a, as_json)
    else:
        work.compare(run_a, run_b, extremes, as_json)
