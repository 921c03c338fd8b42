"""`lapsi groups`: scores by contributor, class or any other column, and the LSI of whole groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import AsJson, Force, Quiet, Run
from lapsi.execution.files import require_file_free
from lapsi.results.paths import require_run


def groups(
    run: Run,
    by: Annotated[str | None, typer.Option(help="Column to group by. Default: group where the run has it, else label.")] = None,
    leave_group_out: Annotated[
        bool, typer.Option("--leave-group-out", help="Also the exact LSI of removing each whole group (linear probe).")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Also write the table: .csv, .parquet or .json.")] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Roll the scores of a run up by contributor, class or any other column."""
    if to is not None:
        require_file_free(to, force)
    require_run(run)
    from lapsi.cli import groups as work

    if leave_group_out:
        from lapsi.cli.group_removal import remove_groups

        work.groups(run, by, remove_groups, to, force, quiet, as_json)
    else:
        work.groups(run, by, None, to, force, quiet, as_json)
