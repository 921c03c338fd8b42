"""Data sets of Hugging Face `datasets`: by name from the hub, or a folder that `save_to_disk` wrote.

Their rows stay in Arrow files on disk and are read as the extractor asks for them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import to_numpy
from lapsi.data.dataset import make_weights
from lapsi.data.readers.columns import (
    IMAGE_NAMES,
    LABEL_NAMES,
    TEXT_NAMES,
    Columns,
    choose_name,
    first_of,
    listed,
    require_name,
)
from lapsi.data.samples import Content, EncodedImages, Samples, checked_texts, read_file
from lapsi.errors import InputError, first_line

SAVED = ("state.json", "dataset_dict.json")
DEFAULT_SPLIT = "train"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any(os.path.isfile(folder / name) for name in SAVED)


def read_saved_dataset(folder: Path, columns: Columns, split: str | None) -> Samples:
    """The rows of a folder that `save_to_disk` wrote.

    Raises:
        InputError: when it cannot be read, or has no such split or column.
    """
    return _samples(_load_saved(folder), columns, split, str(folder))


def saved_rows(folder: Path, split: str | None) -> Any:
    """The `datasets.Dataset` itself in a folder that `save_to_disk` wrote; errors as `read_saved_dataset`."""
    return rows_of_split(_load_saved(folder), split, str(folder))


def _load_saved(folder: Path) -> Any:
    datasets = _require_datasets()
    try:
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} cannot be read as a saved data set ({first_line(error)}).") from error


def read_hub_dataset(name: str, columns: Columns, split: str | None) -> Samples:
    """A data set of the hub, e.g. "stanfordnlp/imdb", or "frgfm/imagenette:320px" with a configuration; or of its local cache.

    Raises:
        InputError: when it cannot be loaded, or has no such split or column.
    """
    datasets = _require_datasets()
    repository, _, configuration = name.partition(":")
    _require_reachable(repository, datasets)
    try:
        loaded = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # each loader raises its own kind
        raise InputError(
            f"The data set {repository!r} cannot be loaded ({first_line(error)}). Where the hub cannot be reached, save it "
            "elsewhere with save_to_disk and name that folder."
        ) from error
    return _samples(loaded, columns, split, f"hf:{name}")


def _require_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"Hugging Face data sets need the extra 'hf' ({error}): pip install 'lapsi[hf]'.") from error
    datasets.disable_progress_bars()
    return datasets


def _require_reachable(repository: str, datasets: Any) -> None:
    """Asks the hub once, without the minute of retries of its own, and only where nothing of that name is cached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    if (Path(datasets.config.HF_DATASETS_CACHE) / repository.replace("/", "___")).is_dir():
        return
    try:
        HfApi().dataset_info(repository, timeout=10.0)
    except HFValidationError:
        raise InputError(f"'hf:{repository}' names no data set; expected e.g. hf:stanfordnlp/imdb.") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"There is no data set {repository!r} on the hub, or its terms must be accepted there first."
        ) from None
    except Exception as error:  # the HTTP client's own errors, which differ between its versions
        raise InputError(
            f"The data set {repository!r} is not in the local cache, and the hub cannot be reached ({first_line(error)}). "
            "Save it elsewhere with save_to_disk and name that folder."
        ) from error


def _samples(loaded: Any, columns: Columns, split: str | None, source: str) -> Samples:
    columns.refuse(("features", "prefix", "class_names", "drop"), f"{source} is a Hugging Face data set")
    rows = rows_of_split(loaded, split, source)
    names = list(rows.column_names)
    content, table = rows_content(rows, columns, source)
    label = choose_name(columns.labels, LABEL_NAMES, names, "labels", source)
    if isinstance(loaded, dict):
        columns.refuse(("split",), f"{source} has splits, whose name is kept")
    for new, old in columns.carried(names, source).items():
        table[new] = rows_values(rows, old)
    if isinstance(loaded, dict):
        table["split"] = _split_name(loaded, split)
    ids = None if columns.ids is None else rows_values(rows, require_name(columns.ids, names, "ids", source))
    counted = None if columns.weights is None else rows_values(rows, require_name(columns.weights, names, "weights", source))
    weights = None if counted is None else make_weights(counted, len(rows))
    licence = str(getattr(rows.info, "license", "") or "")
    return Samples(content, rows_values(rows, label), ids, table, source, licence, weights=weights, task=columns.task)


def raw_column(rows: Any, columns: Columns) -> str | None:
    """The column of a `datasets.Dataset` that holds images or texts: the one that was named, or one of a usual name."""
    asked = columns.images or columns.texts
    images = [name for name in rows.column_names if _is_image(rows, name)]
    return asked or first_of(IMAGE_NAMES, images) or first_of(TEXT_NAMES, rows.column_names)


def rows_content(rows: Any, columns: Columns, source: str) -> tuple[Content, pd.DataFrame]:
    """The images or texts of a `datasets.Dataset`, and a table of what travels along of them.

    Raises:
        InputError: when it has no such column.
    """
    names = list(rows.column_names)
    image = columns.images or (None if columns.texts else first_of(IMAGE_NAMES, [n for n in names if _is_image(rows, n)]))
    if image is not None:
        content: Content = _image_content(rows, require_name(image, names, "images", source))
        return content, pd.DataFrame(index=range(len(rows)))
    values = rows[choose_name(columns.texts, TEXT_NAMES, names, "texts", source, "; images: --images")][:]
    return checked_texts(values, source), pd.DataFrame({"text": values})


def rows_of_split(loaded: Any, split: str | None, source: str) -> Any:
    """The `datasets.Dataset` of a split, where there are several.

    Raises:
        InputError: when there is no such split.
    """
    if not isinstance(loaded, dict):
        if split is not None:
            raise InputError(f"{source} has no splits; leave --split out.")
        return loaded
    name = _split_name(loaded, split)
    if name not in loaded:
        raise InputError(f"{source} has no split {name!r}; it has {listed(list(loaded))}.")
    return loaded[name]


def _split_name(loaded: dict[str, Any], split: str | None) -> str:
    return split or (DEFAULT_SPLIT if DEFAULT_SPLIT in loaded else next(iter(loaded)))


def _is_image(rows: Any, name: str) -> bool:
    return type(rows.features[name]).__name__ == "Image"


def _image_content(rows: Any, name: str) -> EncodedImages:
    if not _is_image(rows, name):
        raise InputError(f"Column {name!r} holds {rows.features[name]}; expected images.")
    encoded = rows.select_columns([name]).cast_column(name, type(rows.features[name])(decode=False))

    def fetch(position: int) -> bytes:
        value = encoded[position][name]
        if value is None:
            raise OSError("the row holds no image")
        return value["bytes"] if value["bytes"] is not None else read_file(value["path"])

    return EncodedImages([f"image in row {row}" for row in range(len(rows))], fetch)


def rows_values(rows: Any, name: str) -> np.ndarray:
    """A column (N,), integer classes by their names, None where they are missing or -1, as in splits without labels."""
    values = rows[name][:]
    names = getattr(rows.features[name], "names", None)
    if names is None:
        return to_numpy(values)
    return to_numpy([None if value is None or value < 0 else names[value] for value in values])
