"""`lapsi apply`: a review turned into a cleaned data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lapsi.analysis.review import REMOVE, apply_review, read_review
from lapsi.cli.options import Force, Quiet, Run
from lapsi.data.readers.arrays import write_table
from lapsi.errors import RunExistsError
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores


def apply(
    run: Run,
    review: Annotated[Path, typer.Option("--review", help="CSV file that the report page wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Cleaned data set to write: .parquet, .csv or .json.")],
    new_classes: Annotated[bool, typer.Option("--new-classes", help="Allow new labels that are no class of the run.")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the samples of a run as a review decided, and a log of what was changed; the source stays as it is."""
    scores = Scores.load(run)
    opened = scores.provenance.data.get("source") or scores.provenance.source  # the first is absolute
    _require_not_source(output, [Path(scores.provenance.source), Path(opened), review, run])
    cleaned = apply_review(scores, read_review(review), new_classes=new_classes)
    log = output.with_name(f"{output.name}.log.csv")

    def write(path: Path) -> None:
        write_table(cleaned.table, path)
        write_file(log, lambda place: write_table(cleaned.log, place), force)

    write_file(output, write, force)
    if not quiet:
        removed = int((cleaned.log["action"] == REMOVE).sum())
        Console().print(
            f"{len(cleaned.table):,} samples to {output}: {removed:,} removed, {len(cleaned.log) - removed:,} relabelled, "
            f"{cleaned.n_kept:,} kept, {cleaned.n_unsure:,} unsure and left as they are. Log: {log}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )


def _require_not_source(output: Path, sources: list[Path]) -> None:
    if output.resolve() in {source.resolve() for source in sources}:
        raise RunExistsError(
            f"{output} is what the cleaned data set is made from, so it is never overwritten; choose another path."
        )
