"""Arrays in a .npz file, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from lapsi.data.readers.class_names import class_names, name_labels
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.containers import open_arrays
from lapsi.data.rewriting.decided import Decided
from lapsi.data.rewriting.named import Named
from lapsi.data.rewriting.paths import mover


def rewrite_npz(source: Path, target: Path, named: Named, decided: Decided, folder: Path) -> None:
    """The arrays of a file, those that go by sample without the samples that were removed; as they lie there, packed as there.

    A new class gets the next number where the file names classes.
    """
    arrays, new = open_arrays(source), dict[str, np.ndarray]()
    if len(decided.changed) > 0:
        assert named.labels is not None
        called = named.class_names if named.class_names in arrays.names else None
        known = None if called is None else class_names(arrays, Columns(class_names=called), source)
        new[named.labels], names = relabelled(arrays.load(named.labels), known, decided)
        new |= {} if names is None or called is None else {called: names}
    if named.paths is not None:
        new[named.paths] = _moved(arrays.load(named.paths), source.absolute().parent, folder)
    with ZipFile(source) as before, ZipFile(target, "w", before.infolist()[0].compress_type) as after:
        for name in arrays.names:
            array = new[name] if name in new else arrays.load(name)
            whole = array[decided.kept] if named.cut(name, array.shape, decided, source.name) else array
            with after.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, whole, allow_pickle=False)


def relabelled(held: np.ndarray, names: np.ndarray | None, decided: Decided) -> tuple[np.ndarray, np.ndarray | None]:
    """All labels (n_source,), and the names of classes that they count, None where these stay."""
    if names is None or name_labels(held, names) is held:
        return decided.written(held), None
    known: list[Any] = names.tolist()
    known += sorted({label for label in decided.labels if label not in known}, key=str)
    codes = decided.written(held, [known.index(label) for label in decided.labels])
    return codes, None if len(known) == len(names) else np.array(known)


def _moved(paths: np.ndarray, before: Path, after: Path) -> np.ndarray:
    """Paths (N,) of images as they are in another folder."""
    new = np.array(list(map(mover(before, after), paths.tolist())))
    return paths if (new == paths).all() else new
