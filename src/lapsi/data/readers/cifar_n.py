"""CIFAR-N: labels that people gave the training images of CIFAR-10 and CIFAR-100 (Wei et al., 2022)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lapsi.errors import InputError

LICENCE = "CIFAR-N labels: CC BY-NC 4.0, Wei et al. 2022"
SITE = "github.com/UCSC-REAL/cifar-10-100n"
# the labels of CIFAR itself, under their names in CIFAR-N
CLEAN = {"label": "clean_label", "coarse_label": "clean_coarse_label"}
# how numpy's arrays are pickled; its module has another name in each version of numpy
RECONSTRUCT = np.empty(0).__reduce__()[0]
INTEGERS = tuple(type(np.dtype(kind)) for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"))
ARRAYS: list[Any] = [
    *((RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray,
    np.dtype,
    *INTEGERS,
]
UNREADABLE = (pickle.UnpicklingError, OSError, RuntimeError, ValueError, TypeError, EOFError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """The file of CIFAR-N for one data set.

    Attributes:
        file: its name.
        columns: its label sets, and which label of CIFAR each gives anew.
    """

    file: str
    columns: Mapping[str, str]


CIFAR10N = HumanLabels(
    "CIFAR-10_human.pt",
    dict.fromkeys(("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3"), "label"),
)
CIFAR100N = HumanLabels("CIFAR-100_human.pt", {"noisy_label": "label", "noisy_coarse_label": "coarse_label"})


def read_human(
    folder: Path, human: HumanLabels, codes: Mapping[str, np.ndarray], names: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The human labels beside or in the folder of CIFAR, (N,) class names by column; none where there is no such file.

    Args:
        folder: of CIFAR.
        human: what to look for.
        codes: (N,) labels of CIFAR itself, by column; those in the file must be the same.
        names: (C,) class names, by column.

    Raises:
        InputError: when the file holds something else, or belongs to other images or another order of them.
    """
    path = next((place / human.file for place in (folder.parent, folder) if (place / human.file).is_file()), None)
    if path is None:
        return {}
    held = load_labels(path)
    if CLEAN["label"] not in held:
        raise InputError(f"{path} has no clean_label; expected the file {human.file} of {SITE}: download it again.")
    for column, clean in CLEAN.items():
        if clean in held and column in codes:
            _require_same(_codes(held, clean, len(codes[column]), len(names[column]), path), codes[column], clean, path)
    return {
        new: names[old][_codes(held, new, len(codes[old]), len(names[old]), path)]
        for new, old in human.columns.items()
        if new in held
    }


def load_labels(path: Path) -> dict[str, Any]:
    """The label sets in a file of CIFAR-N, by name.

    Raises:
        InputError: when it is damaged, or holds anything else; nothing in it is ever run.
    """
    import torch  # no other reader needs it, and who opens the data of a run again does not wait for it

    try:
        with torch.serialization.safe_globals(ARRAYS):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:  # their texts are long, and advise to load unsafely
        raise InputError(
            f"{path} is damaged, or holds more than arrays of integers ({type(error).__name__}), so it was not loaded; "
            f"download it again from {SITE}, or take it away."
        ) from error
    if not isinstance(held, dict):
        raise InputError(f"{path} holds a {type(held).__name__}; expected a dict of labels: download it again from {SITE}.")
    return held


def _codes(held: Mapping[Any, Any], key: str, n_samples: int, n_classes: int, path: Path) -> np.ndarray:
    """(N,) positions in the class names."""
    values = np.asarray(held[key]).reshape(-1)
    if len(values) != n_samples:
        raise InputError(f"{path}: {key} holds {len(values)} labels; expected {n_samples}, one for each training image.")
    if values.dtype.kind not in "iu" or not np.isin(values, range(n_classes)).all():
        raise InputError(
            f"{path}: {key} holds other values than integers from 0 to {n_classes - 1}; download it again from {SITE}."
        )
    return values


def _require_same(given: np.ndarray, own: np.ndarray, key: str, path: Path) -> None:
    differ = np.flatnonzero(given != own)
    if len(differ):
        raise InputError(
            f"{path}: {key} differs from the labels of the images in {len(differ)} of {len(own)} rows, the first {differ[0]}; "
            "expected the same labels in the same order: use the official files of both."
        )
