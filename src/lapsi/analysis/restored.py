"""A reviewed data set in the shape in which it came: its own table with all columns, or a folder of images a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from lapsi.analysis.review import Cleaned
from lapsi.analysis.reviewed import reviewed_targets
from lapsi.data.readers.columns import LABEL_NAMES, first_of
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.tables import as_cell
from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.task import CLASSES

PATH = "path"
ZIP = ".zip"


def label_column(scores: Scores, names: list[str]) -> str | None:
    """Which of the columns of its source holds the labels of a run; None where it is not one alone."""
    asked = scores.provenance.data.get("columns", {}).get("labels")
    found = first_of(LABEL_NAMES, names) if asked is None else asked
    return found if found in names else None


def restored(cleaned: Cleaned, scores: Scores, source: pd.DataFrame, decimal: str = ".") -> pd.DataFrame | None:
    """The table that a run was made from, with the labels that were decided and without the rows that were removed.

    Every other column and row is as it was, and so are cells whose label was kept.

    Args:
        cleaned: what was decided.
        scores: the run.
        source: its table, row by row.
        decimal: what stands before fractions where its cells are text.

    Returns:
        The table; None where it does not hold the labels of the run in one column (changed since, changed on purpose, several).
    """
    label = label_column(scores, list(map(str, source.columns)))
    rows = scores.table["row"].to_numpy()
    if label is None or len(rows) == 0 or rows.max() >= len(source):
        return None
    given = scores.table["label"].astype(str).to_numpy()
    if not _same(source[label].iloc[rows], scores.table["label"], decimal).all():
        return None
    places = pd.Index(scores.table["id"]).get_indexer(pd.Index(cleaned.table["id"]))
    decided = cleaned.table["label"].to_numpy(dtype=object)
    changed = decided.astype(str) != given[places]
    values = source[label].to_numpy(dtype=object, copy=True)
    values[rows[places[changed]]] = [as_cell(new, source[label], decimal) for new in decided[changed]]
    gone = np.setdiff1d(rows, rows[places])
    told = source.assign(**{label: pd.Series(values, index=source.index).infer_objects()})
    return told.drop(index=source.index[gone]).reset_index(drop=True)


def decided_of(cleaned: Cleaned, scores: Scores) -> Decided:
    """What was decided about each sample of the source of a run; those that were not scored stay."""
    rows, n_source = scores.table["row"].to_numpy(), scores.provenance.n_source or scores.provenance.n_samples
    places = pd.Index(scores.table["id"]).get_indexer(pd.Index(cleaned.table["id"]))
    held = reviewed_targets(scores).columns
    columns = [name for name in held if name != "label"] or held
    before, after = scores.table.iloc[places][columns].astype(str), cleaned.table[columns]
    changed = (before.to_numpy() != after.astype(str).to_numpy()).any(1)
    values = [tuple(row) if len(columns) > 1 else row[0] for row in after[changed].itertuples(index=False, name=None)]
    kept = np.setdiff1d(np.arange(n_source), np.setdiff1d(rows, rows[places]))
    return Decided(n_source, (scores.provenance.n_features,), kept, rows[places[changed]], values, scores.outputs)


def _same(held: pd.Series, given: pd.Series, decimal: str) -> np.ndarray:
    """(n,) whether cells mean the labels of a run: the same text, or the same number."""
    same: np.ndarray = held.notna().to_numpy() & (held.astype(object).astype(str).to_numpy() == given.astype(str).to_numpy())
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        plain = held.str.replace(decimal, ".", regex=False) if pd.api.types.is_string_dtype(held) else held
        same |= pd.to_numeric(plain, errors="coerce").to_numpy() == given.to_numpy()
    return same


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image of a reviewed folder: where it lies, and its name below the new folder, a subfolder a class."""

    source: Path
    name: str


def restored_folder(cleaned: Cleaned, scores: Scores) -> list[ImageFile]:
    """The images that were kept, each below the class that was decided.

    Raises:
        InputError: when the run is none of image files with a class each, or a class cannot be the name of a folder.
    """
    if scores.task != CLASSES or PATH not in cleaned.table:
        source = Path(scores.provenance.data.get("source") or scores.provenance.source)
        way = "unpack it and score the folder, or name" if source.suffix.lower() == ZIP else "name"
        raise InputError(
            f"{source.name} is no folder of image files with a class each, so it cannot be written as one; {way} a file .csv, "
            ".parquet or .json."
        )
    files: list[ImageFile] = []
    taken: set[str] = set()
    images = list(zip(map(Path, cleaned.table[PATH]), cleaned.table["label"].astype(str), strict=True))
    for path, label in sorted(images, key=lambda image: image[0].parent.name != image[1]):  # who stays keeps the name
        if label in ("", ".", "..") or "/" in label or "\\" in label:
            raise InputError(f"The class {label!r} cannot be the name of a folder; write a file .csv, .parquet or .json.")
        name = _free(PurePosixPath(label) / path.name, path, taken)
        taken.add(name)
        files.append(ImageFile(path, name))
    return files


def _free(name: PurePosixPath, path: Path, taken: set[str]) -> str:
    """A name that no image before has: its own, with the folder that it came from, or with a number."""
    if str(name) not in taken:
        return str(name)
    told = name.with_name(f"{path.parent.name}-{name.name}")
    number = 2
    while str(told) in taken:
        told = name.with_name(f"{path.parent.name}-{name.stem}-{number}{name.suffix}")
        number += 1
    return str(told)
