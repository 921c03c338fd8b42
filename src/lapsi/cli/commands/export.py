"""`lapsi export`: the rows of a run as a table, alone or beside the data they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Run
from lapsi.errors import InputError
from lapsi.results.paths import require_run


def export(
    run: Run,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            "-o",
            "--output",
            help="File to write: .csv, .tsv, .parquet, .feather or .json; or a folder, with a saved data set.",
        ),
    ],
    into: Annotated[
        Path | None, typer.Option(help="Add the columns to this data: .csv, .tsv, .parquet, or a saved Hugging Face data set.")
    ] = None,
    ids: Annotated[
        str | None, typer.Option(help="With --into: its column with the ids. Default: the rows of the source.")
    ] = None,
    force: Force = False,
) -> None:
    """Write the rows of a run to a table, or a copy of the data with the scores beside them."""
    if ids is not None and into is None:
        raise InputError(f"--ids is {ids!r} but names a column of --into, which was not given; name the data, or leave it out.")
    require_run(run)
    from lapsi.cli import export as work

    work.export(run, to, into, ids, force)
