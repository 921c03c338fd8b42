"""`lapsi apply`: a review turned into a cleaned data set."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lapsi.analysis.restored import ImageFile, decided_of, moved_paths, restored, restored_folder
from lapsi.analysis.review import REMOVE, Cleaned, apply_review, read_review
from lapsi.cli.terminal import say, told
from lapsi.data.readers.columns import IMAGE_NAMES, first_of
from lapsi.data.readers.layouts import DELIMITED, Layout, kind_of
from lapsi.data.readers.whole_tables import WHOLE_TABLES, read_whole
from lapsi.data.rewriting.decided import REWRITTEN
from lapsi.data.writing import require_table_kind, write_table
from lapsi.errors import InputError, RunExistsError
from lapsi.execution.files import require_file_free, write_file, write_files
from lapsi.results.run_directory import require_free, write_directory
from lapsi.results.scores import Scores

LINK, COPY = "link", "copy"


def apply(run: Path, review: Path, output: Path, new_classes: bool, images: str, force: bool, quiet: bool) -> None:
    """Writes the samples of a run as a review decided, and a log of what was changed."""
    scores = Scores.load(run)
    data, source = scores.provenance.data, scores.provenance.source
    opened = data.get("shards") or [data.get("source") or source]  # these are absolute
    _require_not_source(output, [Path(source), *map(Path, opened), review, run])
    cleaned = apply_review(scores, read_review(review), new_classes=new_classes)
    log = output.with_name(f"{output.name}.log.csv")
    if output.suffix:
        what = _write_table(cleaned, scores, output, log, force)
    else:
        what = _write_folder(cleaned, scores, output, log, images, force)
    if not quiet:
        removed = int((cleaned.log["action"] == REMOVE).sum())
        with told(output):
            say(
                f"{what} to {output}: {removed:,} removed, {len(cleaned.log) - removed:,} "
                f"{cleaned.done}, {cleaned.n_kept:,} kept, {cleaned.n_unsure:,} unsure and left as they are. Log: {log}"
            )


def _write_table(cleaned: Cleaned, scores: Scores, output: Path, log: Path, force: bool) -> str:
    """As one file: what was scored with all that it holds, where it still does; else ids, labels and what was kept."""
    if kind_of(output) in REWRITTEN:
        return _write_alike(cleaned, scores, output, log, force)
    require_table_kind(output)
    came = _as_it_came(cleaned, scores, output)
    written, layout = (_relative(cleaned.table, output.absolute().parent), None) if came is None else came

    _write_both(cleaned, output, log, lambda file: write_table(written, file, layout), force)
    return f"{len(written):,} samples{'' if came is None else ' with all their columns'}"


def _write_alike(cleaned: Cleaned, scores: Scores, output: Path, log: Path, force: bool) -> str:
    """As a file of the kind that was scored, with all that it holds."""
    from lapsi.cli.reopen import reopen_raw, spec_of  # only these read features
    from lapsi.data.rewriting.choose import rewrite

    data = scores.provenance.data
    source = Path(data.get("source", ""))
    is_other = kind_of(source) != kind_of(output) or bool(data.get("shards"))
    if is_other or scores.provenance.corruption or not source.is_file():
        raise InputError(
            f"{output.name} is a file of kind {kind_of(output)!r}, as which only a run of one such file that is still there "
            "and was not changed on purpose can be written; write .csv, .parquet or .json."
        )
    reopen_raw(scores)  # refuses data that have changed since
    columns, decided = spec_of(scores).columns, decided_of(cleaned, scores)
    folder = output.absolute().parent if "path" in scores.table else source.absolute().parent
    _write_both(cleaned, output, log, lambda file: rewrite(source, file, columns, decided, folder), force)
    return f"{len(decided.kept):,} samples with all that {source.name} holds"


def _write_both(cleaned: Cleaned, output: Path, log: Path, write_data: Callable[[Path], object], force: bool) -> None:
    def write(log_file: Path, data_file: Path) -> None:
        write_data(data_file)
        with data_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        write_table(cleaned.log.assign(sha256=digest), log_file)

    write_files((log, output), write, force)  # in this order: a cleaned data set never stands beside an older log


def _as_it_came(cleaned: Cleaned, scores: Scores, output: Path) -> tuple[pd.DataFrame, Layout | None] | None:
    """The table of the run with the decisions in it, and how a file of text writes it.

    None where the run is not of a table that still says the same.
    """
    data = scores.provenance.data
    path = Path(data.get("source", ""))
    if data.get("shards") or scores.provenance.corruption or kind_of(path) not in WHOLE_TABLES or not path.is_file():
        return None
    is_text = kind_of(output) in DELIMITED
    source, layout = read_whole(path, as_text=is_text)
    table = restored(cleaned, scores, source, layout.decimal)
    if table is None:
        return None
    asked = data.get("columns", {}).get("images")
    images = asked or (first_of(IMAGE_NAMES, list(table.columns)) if "path" in scores.table else None)
    moved = moved_paths(table, images, path.parent, output.absolute().parent)
    return moved, layout.written_as(kind_of(output)) if is_text else None


def _relative(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The paths of images below the folder of the new file are relative to it, so that both can be moved."""
    if "path" not in table:
        return table
    paths = [Path(path) for path in table["path"]]
    below = [str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths]
    return table.assign(path=below)


def _write_folder(cleaned: Cleaned, scores: Scores, output: Path, log: Path, images: str, force: bool) -> str:
    """As a folder with a subfolder a class, of links to the images or of copies."""
    if images not in PLACED:
        raise InputError(f"--images is {images!r}; expected {' or '.join(PLACED)}.")
    files = restored_folder(cleaned, scores)
    require_free(output, force=False)
    require_file_free(log, force)
    write_directory(output, lambda folder: _place(files, folder, PLACED[images]), force=False)
    write_file(log, lambda path: write_table(cleaned.log, path), force)
    return f"{len(files):,} images"


def _place(files: list[ImageFile], folder: Path, place: Callable[[Path, Path], object]) -> None:
    for file in files:
        target = folder / file.name
        target.parent.mkdir(exist_ok=True)
        if not file.source.is_file():
            raise InputError(f"{file.source} is gone, so nothing was written; put it back, or write a file .csv instead.")
        place(file.source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError as error:
        raise InputError(f"No links can be made in {target.parent.parent} ({error}); use --images copy.") from error


PLACED: dict[str, Callable[[Path, Path], object]] = {LINK: _link, COPY: shutil.copy2}


def _require_not_source(output: Path, sources: list[Path]) -> None:
    if output.resolve() in {source.resolve() for source in sources}:
        raise RunExistsError(
            f"{output} is what the cleaned data set is made from, so it is never overwritten; choose another path."
        )
