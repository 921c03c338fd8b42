"""`lapsi privacy`: the divergences of single samples, by order or by training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Quiet
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free
from lapsi.results.paths import require_run


def privacy(
    runs: Annotated[list[Path], typer.Argument(help="Run directories: one, or several that were trained differently.")],
    *,
    orders: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Of Rényi divergences, of one run; default: 1,1.5,2,4,8,16,32.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Run directory to write, with a column for each order and sample, of one run.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write: .png, .svg or .pdf.")] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show what each sample gives away: Rényi divergences by order, or LSI of several runs by clip norm and noise.

    It is no guarantee of differential privacy. Of one run the data are opened and the samples left out again.
    """
    for run in runs:
        require_run(run)
    for name, value in (("--orders", orders), ("--to", to)):
        if value is not None and len(runs) > 1:
            raise InputError(f"{name} is of one run, but {len(runs)} were given; give one run, or leave it out.")
    if len(set(map(str, runs))) < len(runs):
        raise InputError("A run was given twice; name each once.")
    if output is not None:
        require_file_free(output, force)
    asked = None if orders is None else _numbers(orders)
    from lapsi.cli import privacy as work

    if len(runs) == 1:
        work.one(runs[0], asked, to, output, work.Way(force, quiet, as_json))
    else:
        work.several(runs, output, work.Way(force, quiet, as_json))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--orders is {text!r}; expected numbers with commas between them, e.g. 1,2,8.") from None
