"""`lapsi apply`: a review turned into a cleaned data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lapsi.analysis.restored import ImageFile, decided_of, restored, restored_folder
from lapsi.analysis.review import REMOVE, Cleaned, apply_review, read_review
from lapsi.cli.apply_parts import Part, write_parts
from lapsi.cli.terminal import say, told
from lapsi.data.readers.columns import IMAGE_NAMES, IN_FILES, file_and_name, first_of
from lapsi.data.readers.layouts import DELIMITED, Layout, kind_of
from lapsi.data.readers.shard_names import holds_features_alone
from lapsi.data.readers.whole_tables import WHOLE_TABLES, read_whole
from lapsi.data.rewriting.decided import REWRITTEN
from lapsi.data.rewriting.tables import with_moved
from lapsi.data.writing import require_table_kind, write_table
from lapsi.errors import InputError, RunExistsError
from lapsi.execution.files import require_file_free, write_file
from lapsi.results.run_directory import require_free, write_directory
from lapsi.results.scores import Scores
from lapsi.settings.task import PAIRS

LINK, COPY = "link", "copy"


def apply(run: Path, review: Path, output: Path, new_classes: bool, images: str, force: bool, quiet: bool) -> None:
    """Writes the samples of a run as a review decided, and a log of what was changed."""
    scores = Scores.load(run)
    log = output.with_name(f"{output.name}.log.csv")
    _require_not_source([output, log], [*_sources(scores), review, run])
    cleaned = apply_review(scores, read_review(review), new_classes=new_classes)
    if output.suffix:
        what = _write_table(cleaned, scores, output, log, force)
    else:
        what = _write_folder(cleaned, scores, output, log, images, force)
    if not quiet:
        removed = int((cleaned.log["action"] == REMOVE).sum())
        with told(output):
            say(
                f"{what}: {removed:,} removed, {len(cleaned.log) - removed:,} "
                f"{cleaned.done}, {cleaned.n_kept:,} kept, {cleaned.n_unsure:,} unsure and left as they are. Log: {log}"
            )


def _write_table(cleaned: Cleaned, scores: Scores, output: Path, log: Path, force: bool) -> str:
    """As one file: what was scored with all that it holds, where it still does; else ids, labels and what was kept."""
    if kind_of(output) in REWRITTEN:
        return _write_alike(cleaned, scores, output, log, force)
    require_table_kind(output)
    came = _as_it_came(cleaned, scores, output)
    written, layout = (_relative(cleaned.table, output.absolute().parent), None) if came is None else came

    write_parts(cleaned.log, log, [Part(output, output, lambda file: write_table(written, file, layout))], force)
    return f"{len(written):,} samples{'' if came is None else ' with all their columns'} to {output}"


def _write_alike(cleaned: Cleaned, scores: Scores, output: Path, log: Path, force: bool) -> str:
    """As a file of the kind that was scored, with all that it holds; so are the files of labels beside one of features."""
    data = scores.provenance.data
    source = Path(data.get("source", ""))
    is_other = kind_of(source) != kind_of(output) or bool(data.get("shards"))
    if is_other or scores.provenance.corruption or not source.is_file():
        raise InputError(
            f"{output.name} is a file of kind {kind_of(output)!r}, as which only a run of one such file that is still there "
            "and was not changed on purpose can be written; write .csv, .parquet or .json."
        )
    from lapsi.cli.apply_alike import parts_alike  # only this reads features

    decided = decided_of(cleaned, scores)
    parts = parts_alike(decided, scores, source, output)
    sources = [part.source for part in parts]
    _require_not_source([part.path for part in parts], [*_sources(scores), *sources])
    write_parts(cleaned.log, log, parts, force)
    holds = f"{' and '.join(each.name for each in sources)} hold{'s' if len(sources) == 1 else ''}"
    outputs = " and ".join(str(part.path) for part in parts)
    return f"{len(decided.kept):,} samples with all that {holds} to {outputs}"


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
    of = _pairs_kept if scores.task == PAIRS else _samples_kept
    found = of(cleaned, scores, source, layout.decimal)
    if found is None:
        return None
    table, images = found
    moved = with_moved(table, images, path.parent, output.absolute().parent)
    return moved, layout.written_as(kind_of(output)) if is_text else None


def _samples_kept(
    cleaned: Cleaned, scores: Scores, source: pd.DataFrame, decimal: str
) -> tuple[pd.DataFrame, str | None] | None:
    """Of the table of labelled samples what was decided, and its column with files of images; None where it is another now."""
    table = restored(cleaned, scores, source, decimal)
    if table is None:
        return None
    asked = scores.provenance.data.get("columns", {}).get("images")
    return table, asked or (first_of(IMAGE_NAMES, list(table.columns)) if "path" in scores.table else None)


def _pairs_kept(cleaned: Cleaned, scores: Scores, source: pd.DataFrame, decimal: str) -> tuple[pd.DataFrame, str | None] | None:
    """The same of a table of pairs."""
    from lapsi.cli.reopen_pairs import reopen_pairs

    try:
        pairs = reopen_pairs(scores)
    except InputError:
        return None
    return (source.iloc[decided_of(cleaned, scores).kept], pairs.paths) if len(source) == pairs.n_source else None


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
    return f"{len(files):,} images to {output}"


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


def _sources(scores: Scores) -> list[Path]:
    """The files that a run was made from."""
    data, source = scores.provenance.data, scores.provenance.source
    opened = [Path(each) for each in data.get("shards") or [data.get("source") or source]]  # these are absolute
    named = [data.get("columns", {}).get(name) for name in IN_FILES.values()] if holds_features_alone(opened[0]) else []
    return [Path(source), *opened, *(file_and_name(name)[0] for name in named if name is not None)]


def _require_not_source(outputs: list[Path], sources: list[Path]) -> None:
    taken = {source.resolve() for source in sources}
    for output in outputs:
        if output.resolve() in taken:
            raise RunExistsError(
                f"{output} is what the cleaned data set is made from, so it is never overwritten; choose another path."
            )
