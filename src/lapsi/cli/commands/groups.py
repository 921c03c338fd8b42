"""`lapsi groups`: scores by contributor, class or any other column, and the LSI of whole groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.generated import Options, with_options
from lapsi.cli.options import WORKERS, AsJson, Force, Quiet, Run
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free
from lapsi.results.paths import require_run


@with_options(WORKERS)
def groups(
    run: Run,
    *,
    by: Annotated[str | None, typer.Option(help="Column to group by. Default: group where the run has it, else label.")] = None,
    leave_group_out: Annotated[
        bool, typer.Option("--leave-group-out", help="Also the exact LSI of removing each whole group (linear probe).")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder where groups that are left out are kept; the same call goes on there.")
    ] = None,
    options: Options,
    to: Annotated[
        Path | None,
        typer.Option("--to", "-o", "--output", help="Also write the table: .csv, .tsv, .parquet, .feather or .json."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Roll the scores of a run up by contributor, class or any other column."""
    if to is not None:
        require_file_free(to, force)
    require_run(run)
    given = [f"--{name.replace('_', '-')}" for name in options] + (["--checkpoint"] if checkpoint is not None else [])
    if given and not leave_group_out:
        raise InputError(f"{given[0]} is of leaving groups out; give --leave-group-out too, or leave it out.")
    machines = WORKERS.values(options)
    WORKERS.make(options)
    from lapsi.cli import groups as work

    if leave_group_out:
        from lapsi.cli.group_removal import Removal

        work.groups(run, by, Removal(machines, checkpoint), to, force, quiet, as_json)
    else:
        work.groups(run, by, None, to, force, quiet, as_json)
