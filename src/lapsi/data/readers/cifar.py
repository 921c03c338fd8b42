"""CIFAR-10 and CIFAR-100 as their authors pack them: pickles ("python version") or plain bytes ("binary version")."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.readers.cifar_n import CIFAR10N, CIFAR100N, RECONSTRUCT, HumanLabels, read_human
from lapsi.data.samples import Samples, image_arrays, read_file, require_regular
from lapsi.errors import InputError

SHAPE = (3, 32, 32)
N_BYTES = 3072
AGAIN = "unpack the official archive again."
# all that the pickles refer to; nothing else in a pickle is ever looked up, so nothing else can run
ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
UNREADABLE = (pickle.UnpicklingError, OSError, ValueError, TypeError, EOFError, LookupError, AttributeError, ImportError)


@dataclass(frozen=True, slots=True)
class LabelKind:
    """One of the labels that every image has.

    Attributes:
        key: of the labels in the pickles.
        names_key: of the class names in the pickle of names.
        names_file: with the class names, one a line, in the binary version.
        n_classes: C.
    """

    key: bytes
    names_key: bytes
    names_file: str
    n_classes: int


@dataclass(frozen=True, slots=True)
class Cifar:
    """How one of the two data sets is packed.

    Attributes:
        parts: names of the files of each split, which end in .bin in the binary version.
        names: the pickle with the class names.
        kinds: the labels, by column, in the order of their bytes in the binary version.
        human: what CIFAR-N adds.
    """

    parts: Mapping[str, tuple[str, ...]]
    names: str
    kinds: Mapping[str, LabelKind]
    human: HumanLabels


CIFAR10 = Cifar(
    {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
    "batches.meta",
    {"label": LabelKind(b"labels", b"label_names", "batches.meta.txt", 10)},
    CIFAR10N,
)
CIFAR100 = Cifar(
    {"train": ("train",), "test": ("test",)},
    "meta",
    {
        "coarse_label": LabelKind(b"coarse_labels", b"coarse_label_names", "coarse_label_names.txt", 20),
        "label": LabelKind(b"fine_labels", b"fine_label_names", "fine_label_names.txt", 100),
    },
    CIFAR100N,
)


def read_cifar(folder: Path, split: str, form: Cifar) -> Samples:
    """The images of a split in the order of the files, labelled with class names; human labels too where they lie beside.

    The columns are the other labels: coarse_label of CIFAR-100, and those of CIFAR-N for the training split.

    Raises:
        InputError: when a file is missing, damaged or another than it should be. A pickle that refers to anything but arrays
            is refused before any of that runs.
    """
    pickled = (folder / form.names).is_file()
    names = _pickled_names(folder / form.names, form) if pickled else _listed_names(folder, form)
    ending, read = ("", _read_pickle) if pickled else (".bin", _read_bytes)
    parts = [read(folder / f"{part}{ending}", form) for part in form.parts[split]]
    codes = {column: np.concatenate([labels[column] for _, labels in parts]) for column in form.kinds}
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    labels = {column: names[column][codes[column]] for column in form.kinds}
    if split == "train":
        labels |= read_human(folder, form.human, codes, names)
    content = image_arrays(np.ascontiguousarray(pixels))
    return Samples(content, labels.pop("label"), None, pd.DataFrame(labels, index=range(len(content))), str(folder))


class _OnlyArrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no such file does")
        return ALLOWED[module, name]


def _unpickle(path: Path) -> dict[bytes, Any]:
    try:
        require_regular(path)
        with path.open("rb") as file:
            held = _OnlyArrays(file, encoding="bytes").load()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {AGAIN}") from None
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as a pickle of arrays ({error}); {AGAIN}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} holds a {type(held).__name__}; expected a dict: {AGAIN}")
    return held


def _read_pickle(path: Path, form: Cifar) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pixels (n, 3072), and labels (n,) by column."""
    held = _unpickle(path)
    pixels = held.get(b"data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (N_BYTES,):
        raise InputError(f"{path} holds no uint8 array (n, {N_BYTES}) under 'data'; {AGAIN}")
    return pixels, {column: _codes(held.get(kind.key), kind, len(pixels), path) for column, kind in form.kinds.items()}


def _read_bytes(path: Path, form: Cifar) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pixels (n, 3072), and labels (n,) by column."""
    raw, width = np.frombuffer(_contents(path), np.uint8), len(form.kinds) + N_BYTES
    if len(raw) % width:
        raise InputError(f"{path} holds {len(raw)} bytes; expected a multiple of {width}, one record an image: {AGAIN}")
    rows = raw.reshape(-1, width)
    labels = {column: _codes(rows[:, place], kind, len(rows), path) for place, (column, kind) in enumerate(form.kinds.items())}
    return rows[:, len(form.kinds) :], labels


def _codes(values: Any, kind: LabelKind, n_samples: int, path: Path) -> np.ndarray:
    """(n,) positions in the class names."""
    codes = np.asarray(values)
    if codes.shape != (n_samples,) or codes.dtype.kind not in "iu" or not np.isin(codes, range(kind.n_classes)).all():
        raise InputError(
            f"{path}: the {kind.key.decode()} are not {n_samples} integers from 0 to {kind.n_classes - 1}, one an image; "
            f"{AGAIN}"
        )
    return codes


def _pickled_names(path: Path, form: Cifar) -> dict[str, np.ndarray]:
    held = _unpickle(path)
    return {column: _names(held.get(kind.names_key), kind, path) for column, kind in form.kinds.items()}


def _listed_names(folder: Path, form: Cifar) -> dict[str, np.ndarray]:
    paths = {column: folder / kind.names_file for column, kind in form.kinds.items()}
    return {column: _names(_contents(path).split(), form.kinds[column], path) for column, path in paths.items()}


def _names(values: Any, kind: LabelKind, path: Path) -> np.ndarray:
    """(C,) class names."""
    is_list = isinstance(values, list) and all(isinstance(value, bytes) and value.isascii() for value in values)
    if not is_list or len(values) != kind.n_classes:
        raise InputError(f"{path} does not hold the {kind.n_classes} {kind.names_key.decode()}; {AGAIN}")
    return np.array([value.decode() for value in values])


def _contents(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {AGAIN}") from error
