"""Pairs from a file: features of both sides, or images and their captions, of which two frozen extractors make features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lapsi.data.arrays import feature_matrix
from lapsi.data.dataset import make_columns
from lapsi.data.extractors.embedding import embed_content
from lapsi.data.pairs import Pairs, make_pairs, shuffle_pairs
from lapsi.data.readers.columns import IMAGE_NAMES, RESERVED, TEXT_NAMES, first_of, listed, require_name
from lapsi.data.readers.containers import NamedArrays, open_arrays
from lapsi.data.readers.raw_tables import image_column
from lapsi.data.readers.unreadable import reading
from lapsi.data.samples import TEXT, Content, checked_texts
from lapsi.errors import InputError
from lapsi.execution.backend import HERE, Backend
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.pair_source import PairSource

IMAGE_SIDES = ("image_embeddings", "image_features", *IMAGE_NAMES)
TEXT_SIDES = ("text_embeddings", "text_features", "caption_embeddings", "caption", "captions", *TEXT_NAMES)
CAPTIONS = ("captions", "caption", *TEXT_NAMES)
FILES = ("filenames", "filename", "files", "file", "file_name", "path", "image_path")


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of the pairs: features, or what they are still to be made from."""

    name: str
    features: Any = None
    content: Content | None = None
    paths: list[Path] | None = None


def open_pairs(path: Path, asked: PairSource, stages: Stages, cache: Path | None = None, backend: Backend = HERE) -> Pairs:
    """The pairs of a file (.npz, .safetensors, .parquet, .csv, .jsonl), changed on purpose where asked.

    `cache`: folder of the features that extractors make; `backend` makes them.

    Raises:
        InputError: for a missing column (naming those present), and what cannot be read.
    """
    arrays = open_arrays(path)
    with reading(path):
        images, texts = _image_side(path, asked, arrays), _text_side(path, asked, arrays)
        known = _columns(path, asked, arrays, images, texts)
        ids = None if asked.ids is None else arrays.load(require_name(asked.ids, arrays.names, "ids", path.name))
    record: dict[str, Any] = {}
    sides = []
    for side, model in ((images, asked.image_model), (texts, asked.text_model)):
        if side.content is None:
            sides.append(side.features)
            continue
        made = embed_content(side.content, ExtractorSettings(model), cache, stages, backend=backend)
        sides.append(made.features)
        record[side.content.kind] = made.record
    pairs = make_pairs(sides[0], sides[1], ids=ids, columns=known, source=str(path))
    if record:
        pairs.record["extractor"] = record
    return pairs if asked.shuffle_pairs == 0 else shuffle_pairs(pairs, asked.shuffle_pairs, asked.seed)


def _image_side(path: Path, asked: PairSource, arrays: NamedArrays) -> _Side:
    name = _side(asked.images, IMAGE_SIDES, arrays.names, "images", path)
    values = arrays.load(name)
    if _are_features(values):
        return _Side(name, features=feature_matrix(values))
    content, paths = image_column(values, path)
    return _Side(name, content=content, paths=paths)


def _text_side(path: Path, asked: PairSource, arrays: NamedArrays) -> _Side:
    name = _side(asked.texts, TEXT_SIDES, arrays.names, "texts", path)
    values = arrays.load(name)
    if _are_features(values):
        return _Side(name, features=feature_matrix(values))
    return _Side(name, content=checked_texts(values.tolist(), path.name))


def _side(asked: str | None, usual: tuple[str, ...], names: list[str], what: str, path: Path) -> str:
    found = first_of(usual, names) if asked is None else require_name(asked, names, what, path.name)
    if found is None:
        raise InputError(f"{path.name}: which holds the {what} of the pairs? Name it with --{what}; it has {listed(names)}.")
    return found


def _are_features(values: np.ndarray) -> bool:
    """Whether they are rows of numbers, as an array or as lists."""
    if values.dtype.kind == "O":
        return len(values) > 0 and isinstance(values[0], list | tuple | np.ndarray)
    return values.dtype.kind in "fiub" and values.ndim == 2


def _columns(path: Path, asked: PairSource, arrays: NamedArrays, images: _Side, texts: _Side) -> Any:
    """What travels along: captions under `text`, files under `path`, and what else was asked for."""
    taken = [name for name in asked.keep if name in RESERVED]
    if taken:
        raise InputError(
            f"--keep {taken[0]}: that name is taken by what lapsi writes itself; rename the column in {path.name}."
        )
    carried = {name: arrays.load(require_name(name, arrays.names, "column", path.name)) for name in asked.keep}
    captions = texts.name if texts.content is not None else _named(asked.captions, CAPTIONS, arrays, "captions", path)
    if captions is not None:
        carried[TEXT] = arrays.load(captions)
    if images.paths is not None:
        carried["path"] = [str(each.absolute()) for each in images.paths]
    else:
        files = _named(asked.files, FILES, arrays, "files", path)
        if files is not None and files != images.name:
            folder = path.parent if asked.image_folder is None else Path(asked.image_folder)
            carried["path"] = [str((folder / str(name)).absolute()) for name in arrays.load(files)]
    return make_columns(carried, len(arrays.load(texts.name)))


def _named(asked: str | None, usual: tuple[str, ...], arrays: NamedArrays, what: str, path: Path) -> str | None:
    return first_of(usual, arrays.names) if asked is None else require_name(asked, arrays.names, what, path.name)
