"""Arrays in a .npz file, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from lapsi.data.readers.class_names import class_names, name_labels
from lapsi.data.readers.columns import CLASS_NAMES, ID_NAMES, LABEL_NAMES, Columns, choose_name
from lapsi.data.readers.containers import open_arrays
from lapsi.data.readers.shard_names import is_sparse_file
from lapsi.data.rewriting.decided import Decided
from lapsi.errors import InputError


def rewrite_npz(source: Path, target: Path, columns: Columns, decided: Decided, folder: Path) -> None:
    """The arrays of a file, those that go by sample without the samples that were removed; as they lie there, packed as there.

    A new class gets the next number where the file names classes.
    """
    if is_sparse_file(source):
        raise InputError(f"{source.name} holds a sparse matrix, and labels are elsewhere; write .csv, .parquet or .json.")
    arrays = open_arrays(source)
    label = choose_name(columns.labels, LABEL_NAMES, arrays.names, "labels", source.name)
    called, new = columns.class_names or CLASS_NAMES, dict[str, np.ndarray]()
    if len(decided.changed) > 0:
        new[label], names = _written(arrays.load(label), class_names(arrays, columns, source), decided)
        new |= {} if names is None else {called: names}
    by_sample = {label, *ID_NAMES, columns.ids, columns.weights, *columns.carried(arrays.names, source.name).values()}
    with ZipFile(source) as before, ZipFile(target, "w", before.infolist()[0].compress_type) as after:
        for name in arrays.names:
            array = new[name] if name in new else arrays.load(name)
            if name != called and array.ndim > 0 and len(array) == decided.n_source:
                if array.ndim == 1 and decided.n_source == decided.n_features and name not in by_sample:
                    raise InputError(
                        f"{source.name} has as many samples as features, {len(array)}, and it is not known which of them the "
                        f"array {name!r} goes by; write .csv, .parquet or .json."
                    )
                array = array[decided.kept]
            with after.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _written(held: np.ndarray, names: np.ndarray | None, decided: Decided) -> tuple[np.ndarray, np.ndarray | None]:
    """All labels, and the names of classes that they count, None where these stay."""
    if names is None or name_labels(held, names) is held:
        return decided.written(held), None
    known: list[Any] = names.tolist()
    known += sorted({label for label in decided.labels if label not in known}, key=str)
    codes = decided.written(held, [known.index(label) for label in decided.labels])
    return codes, None if len(known) == len(names) else np.array(known)
