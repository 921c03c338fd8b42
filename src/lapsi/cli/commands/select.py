"""`lapsi select`: index files of subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Quiet, Run
from lapsi.results.paths import require_run
from lapsi.settings.option import Choice
from lapsi.settings.subset import STRATEGIES


def select(
    run: Run,
    strategy: Annotated[str, typer.Option(metavar="|".join(STRATEGIES), help="Which part of each class's ranking by LSI.")],
    fraction: Annotated[float, typer.Option(help="Share of each class to take, or with drop-… to leave out.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            "--to",
            help="File to write: rows of the source (.npy, .txt), or ids, rows and scores (.csv, .tsv, .parquet, .json).",
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Choose a subset to train on, stratified by class (numbers: by quarter), and write its index."""
    Choice(STRATEGIES).check("strategy", strategy)
    require_run(run)
    from lapsi.cli import select as work

    work.select(run, strategy, fraction, output, force, quiet)
