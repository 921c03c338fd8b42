"""Tensors in a .safetensors file, written again; those that `lapsi embed` wrote with the table beside them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from safetensors import SafetensorError, safe_open

from lapsi.data.labels import make_targets
from lapsi.data.readers.containers import FEATURES, MADE_BY, SAMPLES
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named


def rewrite_safetensors(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The tensors of a file, those that go by sample without the samples that were removed; types and header stay."""
    import torch
    from safetensors.torch import save_file

    kept = torch.from_numpy(decided.kept)
    with safe_open(source, framework="pt") as archive:
        header = dict(archive.metadata() or {})
        tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    if MADE_BY in header:
        table, labels, classes = _samples(tensors[SAMPLES].numpy().tobytes(), json.loads(header[MADE_BY]), decided)
        header[MADE_BY] = json.dumps(json.loads(header[MADE_BY]) | {"classes": classes})
        new = {
            FEATURES: tensors[FEATURES][kept],
            "labels": torch.from_numpy(np.ascontiguousarray(labels)),
            SAMPLES: torch.frombuffer(bytearray(table), dtype=torch.uint8),
        }
    else:
        if len(decided.changed) > 0:
            assert named.labels is not None
            tensors[named.labels] = torch.from_numpy(decided.written(tensors[named.labels].numpy()))
        new = {
            name: tensor[kept] if named.cut(name, tuple(tensor.shape), decided, source.name) else tensor
            for name, tensor in tensors.items()
        }
    try:
        save_file({name: tensor.contiguous() for name, tensor in new.items()}, target, header or None)
    except SafetensorError as error:  # a full disk, for one
        raise OSError(f"{target} cannot be written: {error}") from error


def _samples(content: bytes, details: dict[str, Any], decided: Decided) -> tuple[bytes, np.ndarray, list[Any]]:
    """The table of the samples that stay, its labels as the model reads them, and what these are called."""
    table = pa.parquet.read_table(pa.BufferReader(content))
    held = table["label"].to_pandas().to_numpy()
    shown = decided.written(held)[decided.kept]
    place = table.column_names.index("label")
    table = table.take(pa.array(decided.kept)).set_column(place, "label", pa.array(shown.tolist()))
    targets = make_targets(pd.Series(shown), len(shown), details.get("task"))
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue(), targets.values, targets.names.tolist()
