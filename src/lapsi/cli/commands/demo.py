"""`lapsi demo`: handwritten digits with planted label errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Quiet


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", "--to", help="Run directory to write.")] = Path("demo-run"),
    flip: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the labels to flip.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the flips and of the verified samples.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score scikit-learn's handwritten digits with planted label errors: tables, a run directory, a picture and a report."""
    from lapsi.cli import demo as work

    work.demo(output, flip, seed, force, quiet, as_json)
