"""`lapsi publish`: the scores of a run as one small file for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Run
from lapsi.execution.files import require_file_free
from lapsi.results.paths import require_run


def publish(
    run: Run,
    to: Annotated[Path, typer.Option("--to", "-o", "--output", help="File to write, .parquet.")],
    title: Annotated[str, typer.Option(help="Data and features, e.g. 'CIFAR-10, training images; SqueezeNet features'.")],
    licence: Annotated[str, typer.Option(help="Terms of the scores, and a note on those of the data.")] = "",
    force: Force = False,
) -> None:
    """Write the scores of a run to one small file: no labels, texts, paths or ids, but a card that says how they were made."""
    require_file_free(to, force)
    require_run(run)
    from lapsi.cli import publish as work

    work.publish(run, to, title, licence, force)
