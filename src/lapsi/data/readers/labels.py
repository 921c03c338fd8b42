"""Labels, or what else is known of the samples, from a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lapsi.data.arrays import to_numpy
from lapsi.data.readers.cifar_n import load_labels
from lapsi.data.readers.columns import LABEL_NAMES, choose_name, file_and_name
from lapsi.data.readers.containers import NamedArrays, held_arrays, open_arrays
from lapsi.data.readers.mapped import load_npy
from lapsi.data.readers.unreadable import reading
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError
from lapsi.settings.corruption import Corruption


def changes_of(spec: DataSpec) -> Corruption:
    """All that is changed on purpose, human labels read from their file.

    Raises:
        InputError: when they cannot be read.
    """
    if spec.human_labels is None:
        return spec.corruption
    return replace(spec.corruption, human_labels=read_labels(spec.human_labels))


def read_labels(place: str) -> np.ndarray:
    """Labels (N,) of "FILE" or "FILE:NAME": .npy, .txt with one a line, a file of CIFAR-N (.pt), or any other feature file.

    Raises:
        InputError: when the file or the name is missing, or it cannot be read.
    """
    return read_values(place, "labels", LABEL_NAMES)


def read_values(place: str, what: str, usual: Sequence[str]) -> np.ndarray:
    """The same of other values that the samples have, which are called `what` and under `usual` names.

    Raises:
        InputError: as `read_labels`.
    """
    path, name = file_and_name(place)
    if path.suffix.lower() not in (".npy", ".txt"):
        arrays = _open_torch(path) if path.suffix.lower() == ".pt" else open_arrays(path)
        with reading(path):
            return to_numpy(arrays.load(choose_name(name or None, usual, arrays.names, what, path.name, f" {path}:NAME")))
    if name:
        raise InputError(f"{path.name} holds one array without a name, so {name!r} does not apply to it.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a file with one value for each sample.")
    with reading(path):
        return load_npy(path) if path.suffix.lower() == ".npy" else to_numpy(path.read_text("utf-8").splitlines())


def _open_torch(path: Path) -> NamedArrays:
    held = load_labels(path)
    return held_arrays(list(held), held.__getitem__)
