"""Pairs from a file: features of both sides, or images and their captions, of which two frozen extractors make features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
        images, texts = _image_side(path, asked, arrays), _text_side(path, asked, arrays)
        files = None if images.paths is not None else _named(asked.files, FILES, arrays, "files", path)
        _require_effect(path, asked, cache, (images, texts), files)
        if len(images) != len(texts):
            raise InputError(f"{path.name} has {len(images):,} images and {len(texts):,} texts; expected one of each a pair.")
        known = _columns(path, asked, arrays, (images, texts), files)
        ids = None if asked.ids is None else arrays.load(require_name(asked.ids, arrays.names, "ids", path.name))
    nothing = np.zeros((len(images), 1))
    make_pairs(nothing, nothing, ids=ids, columns=known)  # refuses before the work
    record: dict[str, Any] = {}
    sides = []
    for side, model in ((images, asked.image_model), (texts, asked.text_model)):
        if side.content is None:
            sides.append(side.features)
            continue
        made = embed_content(side.content, ExtractorSettings(model), cache, stages, skip_bad=None, backend=backend)
        sides.append(made.features)
        record[side.content.kind] = made.record
    pairs = make_pairs(sides[0], sides[1], ids=ids, columns=known, source=str(path))
    if record:
        pairs.record["extractor"] = record
    return pairs if asked.shuffle_pairs == 0 else shuffle_pairs(pairs, asked.shuffle_pairs, asked.seed)


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
