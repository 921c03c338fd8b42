"""`lapsi score-pairs`: pairs that belong together, such as images and their captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.generated import Options, with_options
from lapsi.cli.options import PAIRS, AsJson, Force, Quiet, to_pairs
from lapsi.errors import InputError

SOURCE_HELP = (
    "File with the pairs, a row each: .npz, .safetensors, .pt, .parquet, .feather, .arrow, .csv, .tsv or .jsonl, with features "
    "of both sides, or with images and captions."
)


@with_options(*PAIRS)
def score_pairs(
    source: Annotated[Path, typer.Argument(help=SOURCE_HELP)],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", "--to", help="Run directory to write.")] = None,
    options: Options,
    limit: Annotated[int | None, typer.Option(help="Score LIMIT pairs, spread over all; the others still train.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of the feature cache.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print engine, memory and time, and stop.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score pairs by two projections into one space, trained anew without each, and write a run directory.

    Finished parts are kept in RUN.partial until the run is whole; the same call goes on with them after a kill.
    """
    asked, settings = to_pairs(options)
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; expected at least 1.")
    if "corruption_seed" in options and asked.shuffle_pairs == 0:
        raise InputError("--corruption-seed was given but no pairs are shuffled; leave it out, or give --shuffle-pairs.")
    if not source.exists():
        raise InputError(f"There is no file {source}.")
    if output is None and not dry_run:
        raise InputError("No run directory was named; say where to write it with -o RUN (or use --dry-run).")
    from lapsi.cli import score_pairs as work

    call = work.Call(source, asked, settings, limit, cache)
    if output is None or dry_run:
        work.tell_plan(call, quiet, as_json)
    else:
        work.score_pairs(call, output, force, quiet, as_json)
