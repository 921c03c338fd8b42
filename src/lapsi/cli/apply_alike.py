"""What a reviewed data set is written as, where it comes back in files of the kinds in which it came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lapsi.cli.apply_parts import Part
from lapsi.cli.reopen import reopen_raw, spec_of
from lapsi.cli.reopen_pairs import reopen_pairs
from lapsi.data.readers.containers import open_arrays
from lapsi.data.readers.shard_names import holds_features_alone
from lapsi.data.rewriting.beside import files_beside
from lapsi.data.rewriting.choose import rewrite
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named, named_by
from lapsi.results.scores import Scores
from lapsi.settings.task import PAIRS


def parts_alike(decided: Decided, scores: Scores, source: Path, output: Path) -> list[Part]:
    """The files to write: `output` as the file `source` of a run, and beside it those that hold labels and what else is known.

    Raises:
        InputError: when the data have changed since the run, or a file is none that is written again.
    """
    if scores.task == PAIRS:
        pairs = reopen_pairs(scores)
        return [_part(source, output, Named(paths=pairs.paths, by_sample=pairs.named), replace(decided, widths=pairs.widths))]
    reopen_raw(scores)
    columns = spec_of(scores).columns
    if not holds_features_alone(source):
        has_files = "path" in scores.table
        return [_part(source, output, named_by(columns, open_arrays(source).names, source.name, has_files=has_files), decided)]
    stays = decided.without_labels()
    parts = [_part(source, output, Named(), stays)]
    for file in files_beside(columns):
        part = _part(file.source, file.beside(output), file.named, decided if file.holds_labels else stays)
        parts.append(replace(part, told_as=f"{part.told_as}_{file.what}"))
    return parts


def _part(source: Path, path: Path, named: Named, decided: Decided) -> Part:
    return Part(source, path, lambda file: rewrite(source, file, named, decided, path.absolute().parent))
