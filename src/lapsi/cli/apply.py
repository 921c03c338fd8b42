"""`lapsi apply`: a review turned into a cleaned data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lapsi.analysis.review import REMOVE, apply_review, read_review
from lapsi.cli.terminal import say, told
from lapsi.data.writing import write_table
from lapsi.errors import RunExistsError
from lapsi.execution.files import write_files
from lapsi.results.scores import Scores


def apply(run: Path, review: Path, output: Path, new_classes: bool, force: bool, quiet: bool) -> None:
    """Writes the samples of a run as a review decided, and a log of what was changed."""
    scores = Scores.load(run)
    data, source = scores.provenance.data, scores.provenance.source
    opened = data.get("shards") or [data.get("source") or source]  # these are absolute
    _require_not_source(output, [Path(source), *map(Path, opened), review, run])
    cleaned = apply_review(scores, read_review(review), new_classes=new_classes)
    log = output.with_name(f"{output.name}.log.csv")

    def write(log_file: Path, data_file: Path) -> None:
        write_table(cleaned.table, data_file)
        with data_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        write_table(cleaned.log.assign(sha256=digest), log_file)

    write_files((log, output), write, force)  # in this order: a cleaned data set never stands beside an older log
    if not quiet:
        removed = int((cleaned.log["action"] == REMOVE).sum())
        with told(output):
            say(
                f"{len(cleaned.table):,} samples to {output}: {removed:,} removed, {len(cleaned.log) - removed:,} "
                f"{cleaned.done}, {cleaned.n_kept:,} kept, {cleaned.n_unsure:,} unsure and left as they are. Log: {log}"
            )


def _require_not_source(output: Path, sources: list[Path]) -> None:
    if output.resolve() in {source.resolve() for source in sources}:
        raise RunExistsError(
            f"{output} is what the cleaned data set is made from, so it is never overwritten; choose another path."
        )
