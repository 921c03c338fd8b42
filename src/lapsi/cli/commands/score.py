"""`lapsi score`: plan, run, keep, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.effects import require_sense
from lapsi.cli.generated import Options, with_options
from lapsi.cli.options import (
    CHANGES,
    COLUMNS,
    DATA,
    EXTRACTOR,
    RECIPE_FIELDS,
    SCORING,
    SOURCE_HELP,
    START,
    AsJson,
    Force,
    Quiet,
    one_source,
)
from lapsi.errors import InputError
from lapsi.results.paths import require_begun


@with_options(COLUMNS, EXTRACTOR, DATA, CHANGES, START, RECIPE_FIELDS, *SCORING)
def score(
    *,
    source: Annotated[list[str] | None, typer.Argument(help=SOURCE_HELP)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", "--to", help="Run directory to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the unfinished run of this directory.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw its finished parts away and start anew.")] = False,
    options: Options,
    indices: Annotated[Path | None, typer.Option(help="Score these rows only: .npy, or text with one number a line.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score the first LIMIT rows only (all train the model).")] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option(help="Also el2n, grand, forgetting, psmi, sui or trak; may be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print engine, memory and time, and stop.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample of labelled images, texts or features and write a run directory.

    Finished parts are kept in RUN.partial until the run is whole; after a kill, --resume RUN goes on.
    """
    own = {
        "source": one_source(source),
        "indices": None if indices is None else str(indices),
        "limit": limit,
        "measures": measures,
    }
    typed = options | {name: value for name, value in own.items() if value is not None}
    if resume is None:
        require_sense(typed, set(typed))
        if output is None and not dry_run:
            raise InputError("No run directory was named; say where to write it with -o RUN (or use --dry-run).")
    else:
        _require_alone(resume, output, restart)
        require_begun(resume)
    from lapsi.cli import score as work

    work.score(typed, work.Call(output, resume, restart, dry_run, force, quiet, as_json))


def _require_alone(resume: Path, output: Path | None, restart: bool) -> None:
    if restart:
        raise InputError("--resume goes on with the finished parts of a run and --restart throws them away; give one of them.")
    if output is not None and output.absolute() != resume.absolute():
        raise InputError(f"--output is {output} but --resume is {resume}; give --resume alone.")
