"""Pairs from a file: features of both sides, or images and their captions, of which two frozen extractors make features."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lapsi.data.arrays import decoded, feature_matrix, one_dimensional, to_numpy
from lapsi.data.dataset import make_columns
from lapsi.data.extractors.embedding import embed_content
from lapsi.data.pairs import Pairs, make_pairs, shuffle_pairs
from lapsi.data.readers.columns import IMAGE_NAMES, RESERVED, TEXT_NAMES, choose_name, first_of, require_name
from lapsi.data.readers.containers import NamedArrays, open_arrays
from lapsi.data.readers.feature_columns import is_list
from lapsi.data.readers.raw_tables import image_column
from lapsi.data.readers.unreadable import reading
from lapsi.data.samples import TEXT, Content, checked_texts
from lapsi.errors import InputError
from lapsi.execution.backend import HERE, Backend
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.option import flag_of
from lapsi.settings.pair_source import PairSource

IMAGE_SIDES = ("image_embeddings", "image_features", *IMAGE_NAMES)
TEXT_SIDES = ("text_embeddings", "text_features", "caption_embeddings", "caption", "captions", *TEXT_NAMES)
CAPTIONS = ("captions", "caption", *TEXT_NAMES)
NUMBERS, AXES_OF_IMAGES = "fiubc", 3
FILES = ("filenames", "filename", "files", "file", "file_name", "path", "image_path")


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of the pairs: features, or what they are still to be made from."""

    name: str
    features: Any = None
    content: Content | None = None
    paths: list[Path] | None = None

    def __len__(self) -> int:
        return len(self.features if self.content is None else self.content)


def open_pairs(path: Path, asked: PairSource, stages: Stages, cache: Path | None = None, backend: Backend = HERE) -> Pairs:
    """The pairs of a file (.npz, .safetensors, .parquet, .csv, .tsv, .jsonl), changed on purpose where asked.

    `cache`: folder of the features that extractors make; `backend` makes them.

    Raises:
        InputError: for a missing column (naming those present), an option without effect, and what cannot be read.
    """
    arrays = open_arrays(path)
    if arrays.said:
        stages.say(arrays.said)
    with reading(path):
        whole = _whole_rows(path, asked, arrays)
        arrays = arrays if whole is None else _taken(arrays, whole.rows)
        images, texts = _image_side(path, asked, arrays), _text_side(path, asked, arrays)
        files = None if images.paths is not None else _named(asked.files, FILES, arrays, "files", path)
        _require_effect(path, asked, cache, (images, texts), files)
        if len(images) != len(texts):
            raise InputError(f"{path.name} has {len(images):,} images and {len(texts):,} texts; expected one of each a pair.")
        known = _columns(path, asked, arrays, (images, texts), files)
        ids = None if whole is None else whole.rows
        ids = ids if asked.ids is None else arrays.load(require_name(asked.ids, arrays.names, "ids", path.name))
    nothing = np.zeros((len(images), 1))
    make_pairs(nothing, nothing, ids=ids, columns=known)  # refuses before the work
    record: dict[str, Any] = {}
    sides, left_out = [], [] if whole is None else list(whole.left_out)
    for side, model in ((images, asked.image_model), (texts, asked.text_model)):
        if side.content is None:
            sides.append((side.features, np.arange(len(side))))
            continue
        settings = ExtractorSettings(model)
        named = f"--{side.content.kind}-model"
        made = embed_content(side.content, settings, cache, stages, skip_bad=asked.skip_bad, backend=backend, named=named)
        sides.append((made.features, made.kept))
        left_out += [(side.content.name(position), reason) for position, reason in made.left_out.items()]
        record[side.content.kind] = made.record
    both = np.intersect1d(sides[0][1], sides[1][1])
    if len(both) < len(images):
        sides = [(np.asarray(features)[np.isin(kept, both)], both) for features, kept in sides]
        ids = None if ids is None else to_numpy(ids)[both]
        known = known.iloc[both].reset_index(drop=True)
    pairs = make_pairs(sides[0][0], sides[1][0], ids=ids, columns=known, source=str(path))
    if record:
        pairs.record["extractor"] = record
    if whole is not None:
        pairs = replace(pairs, rows=whole.rows[both], n_source=whole.n_source, left_out=tuple(left_out))
    return pairs if asked.shuffle_pairs == 0 else shuffle_pairs(pairs, asked.shuffle_pairs, asked.seed)


@dataclass(frozen=True, slots=True, eq=False)
class _WholeRows:
    """Rows (n,) of a table whose sides are not empty, of `n_source`; name and reason of each of the others."""

    rows: np.ndarray
    n_source: int
    left_out: tuple[tuple[str, str], ...]


def _whole_rows(path: Path, asked: PairSource, arrays: NamedArrays) -> _WholeRows | None:
    """Those to go on with, where pairs that cannot be read are to be left out."""
    if not asked.skip_bad:
        return None
    reasons: dict[int, str] = {}
    sides = (("image", asked.images, IMAGE_SIDES), ("text", asked.texts, TEXT_SIDES))
    for what, named, usual in sides:
        values = np.asarray(arrays.load(choose_name(named, usual, arrays.names, f"{what}s", path.name)))
        if values.ndim == 1 and values.dtype.kind in "OUS":
            blank = np.array([isinstance(value, str) and not value.strip() for value in values])
            reasons = {int(row): f"it has no {what}" for row in np.flatnonzero(pd.isna(values) | blank)} | reasons
        n_source = len(values)
    rows = np.setdiff1d(np.arange(n_source), list(reasons))
    return _WholeRows(rows, n_source, tuple((f"row {row} of {path.name}", reasons[row]) for row in sorted(reasons)))


def _taken(arrays: NamedArrays, rows: np.ndarray) -> NamedArrays:
    """Some rows (n,) of a file."""
    column = arrays.column
    return replace(
        arrays,
        load=lambda name: to_numpy(arrays.load(name))[rows],
        features=lambda names: np.asarray(arrays.features(names))[rows],
        column=None if column is None else lambda name: column(name).take(pa.array(rows)),
    )


def _image_side(path: Path, asked: PairSource, arrays: NamedArrays) -> _Side:
    name = choose_name(asked.images, IMAGE_SIDES, arrays.names, "images", path.name)
    if _holds_lists(arrays, name):
        return _Side(name, features=arrays.features([name]))
    values = to_numpy(arrays.load(name))
    if values.dtype.kind in NUMBERS and 1 < values.ndim < AXES_OF_IMAGES:
        return _Side(name, features=feature_matrix(values))
    content, paths = image_column(values, path)
    return _Side(name, content=content, paths=paths)


def _text_side(path: Path, asked: PairSource, arrays: NamedArrays) -> _Side:
    name = choose_name(asked.texts, TEXT_SIDES, arrays.names, "texts", path.name)
    if _holds_lists(arrays, name):
        return _Side(name, features=arrays.features([name]))
    values = to_numpy(arrays.load(name))
    if values.dtype.kind in NUMBERS:
        return _Side(name, features=feature_matrix(values))
    return _Side(name, content=checked_texts(values.tolist(), path.name))


def _holds_lists(arrays: NamedArrays, name: str) -> bool:
    """Whether each cell of a column of a table is a list of numbers."""
    return arrays.is_table and arrays.column is not None and is_list(arrays.column(name).type)


def _require_effect(path: Path, asked: PairSource, cache: Path | None, sides: tuple[_Side, _Side], files: str | None) -> None:
    """Refuses names that nothing is looked up by, and models that nothing goes through."""
    images, texts = sides
    no_model = "{} of {} holds features".format
    no_files = f"the images are files that {images.name} of {path.name} names"
    idle = {
        "image_model": no_model(images.name, path.name) if images.content is None else "",
        "text_model": no_model(texts.name, path.name) if texts.content is None else "",
        "captions": f"{texts.name} of {path.name} holds the texts" if texts.content is not None else "",
        "files": no_files if images.paths is not None else "",
        "image_folder": no_files if images.paths is not None else f"{path.name} names no files" if files is None else "",
    }
    flags = {each.name: flag_of(each) for each in fields(asked)}
    given = {flags[name]: why for name, why in idle.items() if why and getattr(asked, name) is not None}
    if asked.skip_bad and images.content is None and texts.content is None:
        given["skip-bad"] = no_model("each side", path.name)
    if cache is not None and images.content is None and texts.content is None:
        given["cache"] = no_model("each side", path.name)
    for flag, why in given.items():
        raise InputError(f"--{flag} does not apply: {why}; leave it out.")


def _columns(path: Path, asked: PairSource, arrays: NamedArrays, sides: tuple[_Side, _Side], files: str | None) -> Any:
    """What travels along: captions under `text`, files under `path`, and what else was asked for."""
    images, texts = sides
    taken = [name for name in asked.keep if name in RESERVED]
    if taken:
        raise InputError(
            f"--keep {taken[0]}: that name is taken by what lapsi writes itself; rename the column in {path.name}."
        )
    n = len(texts)
    carried = {name: arrays.load(require_name(name, arrays.names, "column", path.name)) for name in asked.keep}
    captions = texts.name if texts.content is not None else _named(asked.captions, CAPTIONS, arrays, "captions", path)
    if captions is not None:
        carried[TEXT] = arrays.load(captions)
    if images.paths is not None:
        carried["path"] = [str(each.absolute()) for each in images.paths]
    elif files is not None and files != images.name:
        folder = path.parent if asked.image_folder is None else Path(asked.image_folder)
        named = decoded(one_dimensional(arrays.load(files), "files", n), "files").tolist()
        carried["path"] = [None if pd.isna(name) else str((folder / str(name)).absolute()) for name in named]
    return make_columns(carried, n)


def _named(asked: str | None, usual: tuple[str, ...], arrays: NamedArrays, what: str, path: Path) -> str | None:
    return first_of(usual, arrays.names) if asked is None else require_name(asked, arrays.names, what, path.name)
