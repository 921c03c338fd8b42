"""Tables and features as files for others to read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import save_file

from lapsi.data.dataset import Dataset
from lapsi.data.readers.arrow_files import ARROW
from lapsi.data.readers.containers import FEATURES, MADE_BY, SAMPLES
from lapsi.data.readers.layouts import COMPRESSED, DELIMITED, Layout, kind_of, layout_of_kind
from lapsi.errors import InputError

WRITTEN = (*DELIMITED, ".parquet", *ARROW, ".json")
JSON_ROWS = 50_000


def write_features(dataset: Dataset, record: dict[str, Any], path: Path) -> None:
    """Features, labels, ids and all that travels along as one .safetensors file; how they were made as JSON in its header.

    Tensors: `features` (N, d), `labels` (N, …) positions in the classes, or what else the targets are, `samples`: the columns
    id, label and those carried, the bytes of a Parquet file. Header: `lapsi`, the JSON.
    """
    targets = dataset.targets
    table = pd.DataFrame({"id": dataset.ids, "label": targets.shown}).join(dataset.columns)
    samples = io.BytesIO()
    table.to_parquet(samples, index=False)
    tensors = {
        FEATURES: np.ascontiguousarray(np.asarray(dataset.features)),
        "labels": np.ascontiguousarray(targets.values),
        SAMPLES: np.frombuffer(samples.getvalue(), np.uint8),
    }
    details = {"source": dataset.source, "classes": targets.names.tolist(), "task": targets.task, **record}
    try:
        save_file(tensors, path, {MADE_BY: json.dumps(details)})
    except SafetensorError as error:  # a full disk, for one
        raise OSError(f"{path} cannot be written: {error}") from error


def write_table(table: pd.DataFrame, path: Path, layout: Layout | None = None) -> None:
    """A table as a file of a kind of `WRITTEN`: .json is one record a row.

    `layout`: how a file of text writes it; None: as usual for its kind.

    Raises:
        InputError: for another kind of file.
    """
    require_table_kind(path)
    kind = kind_of(path)
    if kind in DELIMITED:
        _write_delimited(table, path, layout or layout_of_kind(kind))
    elif kind == ".parquet":
        table.to_parquet(path, index=False)
    elif kind in ARROW:
        table.reset_index(drop=True).to_feather(path)
    else:
        _write_json(table, path)


def _write_delimited(table: pd.DataFrame, path: Path, layout: Layout) -> None:
    table.to_csv(
        path,
        index=False,
        sep=layout.separator,
        decimal=layout.decimal,
        lineterminator="\r\n" if _holds_returns(table) else layout.line_end,
        compression={"method": "gzip", "mtime": 0} if kind_of(path).endswith(COMPRESSED) else None,
    )


def _write_json(table: pd.DataFrame, path: Path) -> None:
    """A list of records, written so many rows at a time that their text is never whole in memory."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for start in range(0, max(1, len(table)), JSON_ROWS):
            part = table.iloc[start : start + JSON_ROWS]
            text = part.to_json(orient="records", indent=1, force_ascii=False, double_precision=15)
            file.write(("[" if start == 0 else ",") + text.removeprefix("[").removesuffix("\n]"))
        file.write("\n]")


def _holds_returns(table: pd.DataFrame) -> bool:
    """Whether a cell holds a carriage return, which is quoted only in files whose lines end in one."""
    return any("\r" in str(cell) for name in table.select_dtypes(exclude="number") for cell in [name, *table[name]])


def require_table_kind(path: Path) -> None:
    """Refuses the name of a table of another kind than `write_table` writes.

    Raises:
        InputError: naming those kinds.
    """
    if kind_of(path) not in WRITTEN:
        raise InputError(f"{path.name} is a file of kind {path.suffix or '(none)'!r}; expected {', '.join(WRITTEN)}.")
