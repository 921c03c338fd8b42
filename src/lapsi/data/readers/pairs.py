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
from lapsi.data.extractors.embedding import Door, embed_content, require_present, trial
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
    paths: list[Path | None] | None = None

    def __len__(self) -> int:
        return len(self.features if self.content is None else self.content)


@dataclass(frozen=True, slots=True, eq=False)
class PairFile:
    """What a file of pairs holds, before any features are made.

    Attributes:
        sides: images and texts.
        ids: (N,) as asked for, or None to number the pairs.
        columns: (N rows) what travels along.
        taken: the rows that these are, where not all of the file are taken.
        named: what is known to hold a value for each pair.
        paths: what holds the files of the images, where these are relative to the folder of the file; else None.
    """

    sides: tuple[_Side, _Side]
    ids: Any
    columns: pd.DataFrame
    taken: _TakenRows | None
    named: frozenset[str]
    paths: str | None

    def __len__(self) -> int:
        return len(self.sides[0])

    @property
    def n_source(self) -> int:
        """Pairs of the file."""
        return len(self) if self.taken is None else self.taken.n_source

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of the sides that hold such."""
        return tuple(np.shape(side.features)[1] for side in self.sides if side.content is None)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where rows (n,) of the file stand among these; -1 where they are not."""
        return pd.Index(np.arange(len(self)) if self.taken is None else self.taken.rows).get_indexer(pd.Index(rows))

    def digest(self) -> str | None:
        """Hash of the pairs, as `Pairs.digest`; None where features of a side would have to be made first."""
        if any(side.content is not None for side in self.sides):
            return None
        return make_pairs(self.sides[0].features, self.sides[1].features, ids=self.ids, columns=self.columns).digest()


def open_pairs(path: Path, asked: PairSource, stages: Stages, cache: Path | None = None, backend: Backend = HERE) -> Pairs:
    """The pairs of a file (.npz, .safetensors, .parquet, .csv, .tsv, .jsonl), changed on purpose where asked.

    `cache`: folder of the features that extractors make; `backend` makes them.

    Raises:
        InputError: for a missing column (naming those present), an option without effect, and what cannot be read.
    """
    found = read_pairs(path, asked, stages, cache)
    ids, known, taken = found.ids, found.columns, found.taken
    record: dict[str, Any] = {}
    if not asked.skip_bad:
        for side in found.sides:
            if side.content is not None:
                require_present(side.content)
    sides, left_out = [], [] if taken is None else list(taken.left_out)
    for side, model in zip(found.sides, (asked.image_model, asked.text_model), strict=True):
        if side.content is None:
            sides.append((side.features, np.arange(len(side))))
            continue
        settings = ExtractorSettings(model)
        door = Door(_model_option(side.content))
        made = embed_content(side.content, settings, cache, stages, skip_bad=asked.skip_bad, backend=backend, door=door)
        sides.append((made.features, made.kept))
        left_out += [(side.content.name(position), reason) for position, reason in made.left_out.items()]
        record[side.content.kind] = made.record
    both = np.intersect1d(sides[0][1], sides[1][1])
    if len(both) < len(found):
        sides = [(np.asarray(features)[np.isin(kept, both)], both) for features, kept in sides]
        ids = None if ids is None else to_numpy(ids)[both]
        known = known.iloc[both].reset_index(drop=True)
    pairs = make_pairs(sides[0][0], sides[1][0], ids=ids, columns=known, source=str(path))
    if record:
        pairs.record["extractor"] = record
    if taken is not None:
        pairs = replace(pairs, rows=taken.rows[both], n_source=taken.n_source, left_out=tuple(left_out))
    return pairs if asked.shuffle_pairs == 0 else shuffle_pairs(pairs, asked.shuffle_pairs, asked.seed)


def sketch_pairs(
    path: Path, asked: PairSource, stages: Stages, cache: Path | None = None
) -> tuple[Pairs, list[dict[str, Any]]]:
    """Pairs of the shape that the run will have, and what making the features of each side will take, where they are made.

    The features of images and texts are those of a few samples, repeated.

    Raises:
        InputError: as `open_pairs`.
    """
    found = read_pairs(path, asked, stages, cache)
    sides, embeddings = [], []
    for side, model in zip(found.sides, (asked.image_model, asked.text_model), strict=True):
        if side.content is None:
            sides.append(side.features)
            continue
        with stages.stage("try extractor"):
            features, seconds, name = trial(side.content, ExtractorSettings(model), _model_option(side.content))
        sides.append(features[np.arange(len(found)) % len(features)])
        embeddings.append({"model": name, "samples_per_second": 1 / seconds, "seconds": seconds * len(found)})
    return make_pairs(*sides, ids=found.ids, columns=found.columns, source=str(path)), embeddings


def _model_option(content: Content) -> str:
    return f"--{content.kind}-model"


def read_pairs(path: Path, asked: PairSource, stages: Stages, cache: Path | None = None) -> PairFile:
    """What a file of pairs holds; no features are made.

    Raises:
        InputError: as `open_pairs`.
    """
    arrays = open_arrays(path)
    if arrays.said:
        stages.say(arrays.said)
    with reading(path):
        taken = _taken_rows(path, asked, arrays)
        arrays = arrays if taken is None else _taken(arrays, taken.rows)
        images, texts = _image_side(path, asked, arrays), _text_side(path, asked, arrays)
        files = None if images.paths is not None else _named(asked.files, FILES, arrays, "files", path)
        _require_effect(path, asked, cache, (images, texts), files)
        if len(images) != len(texts):
            raise InputError(f"{path.name} has {len(images):,} images and {len(texts):,} texts; expected one of each a pair.")
        known = _columns(path, asked, arrays, (images, texts), files)
        ids = None if taken is None else taken.rows
        ids = ids if asked.ids is None else arrays.load(require_name(asked.ids, arrays.names, "ids", path.name))
    nothing = np.zeros((len(images), 1))
    make_pairs(nothing, nothing, ids=ids, columns=known)  # refuses before the work
    named = {images.name, texts.name, asked.ids, files, *asked.keep, *CAPTIONS, asked.captions} - {None}
    beside = None if asked.image_folder is not None or files == images.name else files
    paths = images.name if images.paths is not None else beside
    return PairFile((images, texts), ids, known, taken, frozenset(map(str, named)), paths)


@dataclass(frozen=True, slots=True, eq=False)
class _TakenRows:
    """Rows (n,) of a file that are gone on with, of `n_source`; name and reason of each whose sides are not both there."""

    rows: np.ndarray
    n_source: int
    left_out: tuple[tuple[str, str], ...]


def _taken_rows(path: Path, asked: PairSource, arrays: NamedArrays) -> _TakenRows | None:
    """Those to go on with, where pairs that cannot be read are to be left out, or some are drawn for a trial."""
    if not asked.skip_bad and asked.rows is None:
        return None
    reasons: dict[int, str] = {}
    sides = (("image", asked.images, IMAGE_SIDES), ("text", asked.texts, TEXT_SIDES))
    sizes = set()
    for what, named, usual in sides:
        values = np.asarray(arrays.load(choose_name(named, usual, arrays.names, f"{what}s", path.name)))
        sizes.add(len(values))
        if asked.skip_bad and values.ndim == 1 and values.dtype.kind in "OUS":
            blank = np.array([isinstance(value, str) and not value.strip() for value in values])
            reasons = {int(row): f"it has no {what}" for row in np.flatnonzero(pd.isna(values) | blank)} | reasons
    if len(sizes) > 1:
        return None  # which is told where both sides are opened
    n_source = sizes.pop()
    rows = np.setdiff1d(np.arange(n_source), list(reasons))
    if asked.rows is not None and asked.rows < len(rows):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[: asked.rows])
    return _TakenRows(rows, n_source, tuple((f"row {row} of {path.name}", reasons[row]) for row in sorted(reasons)))


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
        carried["path"] = [None if each is None else str(each.absolute()) for each in images.paths]
    elif files is not None and files != images.name:
        folder = path.parent if asked.image_folder is None else Path(asked.image_folder)
        named = decoded(one_dimensional(arrays.load(files), "files", n), "files").tolist()
        carried["path"] = [None if pd.isna(name) else str((folder / str(name)).absolute()) for name in named]
    return make_columns(carried, n)


def _named(asked: str | None, usual: tuple[str, ...], arrays: NamedArrays, what: str, path: Path) -> str | None:
    return first_of(usual, arrays.names) if asked is None else require_name(asked, arrays.names, what, path.name)
