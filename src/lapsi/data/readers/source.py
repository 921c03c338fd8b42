"""The one door for data: what the user names becomes labelled features, or raw samples that want an extractor."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from lapsi.data.dataset import Dataset
from lapsi.data.part import part_of
from lapsi.data.readers.arrays import read_dataset, read_npy, read_sparse
from lapsi.data.readers.catalog import read_named
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.containers import TABLES, open_arrays
from lapsi.data.readers.hub import is_saved_dataset, read_hub_dataset, read_saved_dataset
from lapsi.data.readers.image_archives import is_archive, read_image_archive
from lapsi.data.readers.image_folders import read_image_folder
from lapsi.data.readers.layouts import kind_of
from lapsi.data.readers.names import HUB_PREFIX, NAMES, require_source
from lapsi.data.readers.raw_tables import holds_raw, read_raw
from lapsi.data.readers.shard_names import beside, is_sparse_file, require_shards, shards_of
from lapsi.data.readers.shards import open_shards
from lapsi.data.samples import Samples
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError

NO_COLUMNS = "an image folder has paths and classes only; use a table"


def open_spec(spec: DataSpec) -> Dataset | Samples:
    """The source that a description names, opened; no features are made.

    Raises:
        InputError: as `open_source`; or when one of the shards is missing that it had before.
    """
    require_shards([Path(shard) for shard in spec.shards])
    data_dir = None if spec.data_dir is None else Path(spec.data_dir)
    source = open_source(spec.source, spec.columns, spec.split, data_dir, skip_bad=spec.skip_bad)
    return source if spec.rows is None else part_of(source, spec.rows)


def open_source(
    source: str, columns: Columns, split: str | None = None, data_dir: Path | None = None, *, skip_bad: bool = False
) -> Dataset | Samples:
    """Reads what `source` names, and nothing of the images yet.

    Args:
        source: a file with features, or with texts or images; several of these that belong together, as a folder, a pattern
            or names with commas between them; an image folder with one subfolder a class, or a zip file of one; a folder that
            `datasets` saved; "hf:NAME" or "hf:NAME:CONFIGURATION" on the Hugging Face hub; or one of `names.NAMES`.
        columns: names inside it.
        split: the part to take, where it has several.
        data_dir: where the files of a named data set lie.
        skip_bad: leave out what cannot be read of an image folder.

    Raises:
        InputError: when it cannot be read, saying what was expected.
    """
    path = Path(source)
    if source.startswith(HUB_PREFIX):
        return read_hub_dataset(source.removeprefix(HUB_PREFIX), columns, split)
    if source in NAMES and path.exists():
        raise InputError(f"{source} names a data set, and a file or folder here: write ./{source} for that, or work elsewhere.")
    if source in NAMES:
        return read_named(source, columns, split, data_dir)
    if data_dir is not None:
        raise InputError(f"--data-dir is for named data sets ({', '.join(NAMES)}), but the source is {source}.")
    shards = shards_of(source)
    if shards is None and path.is_dir():
        return _read_folder(path, columns, split, skip_bad)
    require_source(source)
    if is_archive(path):
        columns.refuse([field.name for field in fields(Columns)], NO_COLUMNS)
        return read_image_archive(path, split)
    if split is not None:
        raise InputError(
            f"{path.name} has no splits, so --split does not apply; to carry a column along, name it with --split-column."
        )
    return _read_file(path, columns) if shards is None else _read_shards(source, shards, columns)


def _read_folder(path: Path, columns: Columns, split: str | None, skip_bad: bool) -> Samples:
    if is_saved_dataset(path):
        return read_saved_dataset(path, columns, split)
    columns.refuse([field.name for field in fields(Columns)], NO_COLUMNS)
    return read_image_folder(path, split, skip_bad=skip_bad)


def _read_file(path: Path, columns: Columns) -> Dataset | Samples:
    if kind_of(path) not in (*TABLES, ".npz"):
        return read_dataset(path, columns)
    if is_sparse_file(path):
        return read_sparse([path], columns, str(path))
    arrays = open_arrays(path)
    return (read_raw if holds_raw(arrays.names, columns) else read_dataset)(path, columns, arrays)


def _read_shards(source: str, shards: list[Path], columns: Columns) -> Dataset | Samples:
    if shards[0].suffix.lower() == ".npy":
        labels = columns.labels or (beside(shards, Path(source)) if Path(source).is_dir() else None)
        return read_npy(shards, replace(columns, labels=labels), source)
    if is_sparse_file(shards[0]):
        return read_sparse(shards, columns, source)
    arrays = open_shards(shards)
    if holds_raw(arrays.names, columns):
        return read_raw(shards[0], columns, arrays)
    return read_dataset(Path(source) if len(shards) > 1 else shards[0], columns, arrays)
