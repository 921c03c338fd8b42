"""What every sample is to be predicted as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd

from lapsi.data.arrays import decoded
from lapsi.data.storable import one_type, require_names
from lapsi.errors import InputError


class Targets(ABC):
    """One target a sample, N of them."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """K, outputs of a model that predicts them."""

    @property
    @abstractmethod
    def values(self) -> np.ndarray:
        """(N, …) as the likelihood reads them."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ClassTargets(Targets):
    """One class a sample.

    Attributes:
        codes: (N,) int64, positions in `classes`.
        classes: (C,) the label values as given, sorted.
    """

    codes: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_outputs(self) -> int:
        """C."""
        return len(self.classes)

    @property
    def values(self) -> np.ndarray:
        """(N,) the codes."""
        return self.codes


def to_classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes (C,), sorted, and the position of each label (N,) among them.

    Raises:
        InputError: when a label is missing, or of a type that is none of classes; or there is one class only.
    """
    missing = pd.isna(labels)
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} labels are missing (NaN or None), the first at row {int(np.argmax(missing))}. "
            "Remove these samples or label them."
        )
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise InputError("Unknown label type: the labels are continuous numbers; expected classes (integers or strings).")
        if (np.abs(labels) > 2.0**53).any():
            raise InputError(
                "The labels are floating-point numbers beyond 2^53, which are not exact; pass integers or strings."
            )
        labels = labels.astype(np.int64)
    labels = decoded(labels, "labels")
    if labels.dtype.kind == "O":
        labels = one_type(labels, "labels")
    if labels.dtype.kind not in "OUiub":
        raise InputError(f"Unknown label type: dtype {labels.dtype}; expected integers, strings or booleans.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"All labels are {classes.tolist()[0]!r}: only one class; expected at least 2 classes.")
    require_names(classes, "labels")
    return classes, codes.astype(np.int64)
