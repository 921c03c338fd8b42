"""Labelled features, validated once. Every later room trusts what it finds here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from lapsi.errors import InputError

# columns that travel along with the samples, by the names that lapsi gives them
CARRIED = {
    "path": "file that the sample was read from",
    "text": "the sample itself, where it is a text",
    "group": "contributor, patient or source of the sample",
    "split": "part of the data set that the sample belongs to",
    "reference_label": "a second label, e.g. a human re-annotation or the known truth",
    "original_label": "label before it was changed on purpose",
    "corrupted": "whether the sample was changed on purpose",
    "corruption": "how it was changed",
}
LABELS = ("reference_label", "original_label")
CONSTANT_BELOW = 1e-12
TOO_LARGE = "The features are too large to be scaled in float64; divide them by a constant first."


@dataclass(frozen=True, slots=True)
class Dataset:
    """N labelled samples with d numeric features. Build it with `make_dataset`.

    Attributes:
        features: (N, d) finite numbers, as given.
        labels: (N,) int64, positions in `classes`.
        classes: (C,) the label values as given, sorted.
        ids: (N,) one identifier a sample, unique.
        source: where the data came from, for the record.
        columns: (N rows) what else is known of the samples and travels along to the scores; see `CARRIED`.
        rows: (N,) position of each sample in its source, ascending; other than 0…N−1 where some could not be read.
        features_hash: of what the features were made from, where an extractor made them (their last bits may differ from one
            batch size to another); else "".
        made_by: what the source says of its features: extractor and licence, plain JSON values.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    ids: np.ndarray
    source: str
    columns: pd.DataFrame
    rows: np.ndarray
    features_hash: str = ""
    made_by: dict[str, Any] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def n_features(self) -> int:
        """d, without the constant that the probe adds."""
        return self.features.shape[1]

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.classes)

    def digest(self) -> str:
        """Hash of features, labels, classes and ids: equal for equal data."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.features.shape, str(self.features.dtype))).encode())
        digest.update(self.features_hash.encode() or np.ascontiguousarray(self.features).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        for names in (self.classes, self.ids):
            digest.update("\x00".join(map(str, names.tolist())).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Standardizer:
    """Maps features to the inputs of the probe: (x − mean)·scale, then a constant 1.

    Attributes:
        mean, scale: (d,) float64; scale is 0 for a constant feature.
    """

    mean: np.ndarray
    scale: np.ndarray

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """(N, d + 1) float64.

        Raises:
            InputError: when the scaled features are not finite in float64.
        """
        inputs = np.ones((features.shape[0], features.shape[1] + 1))
        np.subtract(features, self.mean, out=inputs[:, :-1])
        inputs[:, :-1] *= self.scale
        if not np.isfinite(inputs.sum()):
            raise InputError(TOO_LARGE)
        return inputs


def fit_standardizer(features: np.ndarray, standardize: bool) -> Standardizer:
    """Mean and 1/standard deviation (population) of every feature; the identity where `standardize` is False.

    Raises:
        InputError: when the deviation is not finite in float64.
    """
    d = features.shape[1]
    if not standardize:
        return Standardizer(np.zeros(d), np.ones(d))
    mean = features.mean(0, dtype=np.float64)
    variance = np.zeros(d)
    for start in range(0, len(features), 8192):
        variance += np.square(features[start : start + 8192] - mean).sum(0)
    std = np.sqrt(variance / len(features))
    if not np.isfinite(std).all():
        raise InputError(TOO_LARGE)
    constant = std <= CONSTANT_BELOW * np.abs(mean)
    return Standardizer(mean, np.where(constant, 0.0, 1 / np.where(constant, 1.0, std)))


def make_dataset(
    features: Any,
    labels: Any,
    *,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    rows: np.ndarray | None = None,
    source: str = "arrays",
) -> Dataset:
    """A validated data set.

    Args:
        features: (N, d) numbers: numpy array, torch tensor, pandas frame or nested lists.
        labels: (N,) integers, strings or booleans; gaps are fine. pandas and torch objects too.
        ids: (N,) unique identifiers; None numbers the rows, or takes the index of a pandas frame where it is unique.
        columns: what else is known of the samples, (N,) each by name, or a pandas frame; usual names: `CARRIED`.
        rows: (N,) position of each sample in its source; None: 0…N−1.
        source: where the data came from.

    Raises:
        InputError: for anything that cannot be scored, saying what was got and what to do.
    """
    if ids is None and isinstance(features, pd.DataFrame) and features.index.is_unique:
        ids = features.index
    matrix = _features(features)
    label_values = _one_dimensional(labels, "labels", len(matrix))
    classes, codes = _classes(label_values)
    identifiers = np.arange(len(matrix)) if ids is None else _ids(_one_dimensional(ids, "ids", len(matrix)))
    known = make_columns(columns, len(matrix))
    return Dataset(matrix, codes, classes, identifiers, source, known, np.arange(len(matrix)) if rows is None else rows)


def make_columns(columns: Mapping[str, Any] | pd.DataFrame | None, n_samples: int) -> pd.DataFrame:
    """What travels along with the samples, (N rows).

    Raises:
        InputError: when a column has another length or more than one axis, or holds what a Parquet file cannot.
    """
    values = (
        {}
        if columns is None
        else {str(name): _one_dimensional(values, f"values of {name!r}", n_samples) for name, values in columns.items()}
    )
    for name, column in values.items():
        _require_storable(column, f"The column {name!r}")
    whole = {name: _integral(column) if name in LABELS else column for name, column in values.items()}
    return pd.DataFrame(whole, index=pd.RangeIndex(n_samples))


def _integral(values: np.ndarray) -> Any:
    """Labels that are floating-point numbers without a fraction as integers, as the given labels are; gaps stay gaps."""
    if values.dtype.kind != "f":
        return values
    known = values[~np.isnan(values)]
    return pd.array(values, dtype="Int64") if (known == np.floor(known)).all() else values


def _require_storable(values: np.ndarray, what: str) -> None:
    try:
        pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError, TypeError, ValueError) as error:
        raise InputError(f"{what} cannot be stored ({error}); convert it to numbers or text in UTF-8.") from error


def _features(features: Any) -> np.ndarray:
    if hasattr(features, "toarray"):
        raise InputError("Sparse features were passed, but dense ones are required: pass features.toarray().")
    try:
        matrix = to_numpy(features)
        if matrix.dtype.kind in "OUS":
            matrix = matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The features are not all numbers ({error}); expected an array (n_samples, n_features).") from error
    if matrix.dtype.kind == "c":
        raise InputError("Complex data not supported: the features have a complex dtype; expected real numbers.")
    if matrix.ndim != 2:
        raise InputError(
            f"The features have shape {matrix.shape}; expected 2 axes (n_samples, n_features). "
            "Reshape your data, e.g. features.reshape(len(features), -1)."
        )
    if matrix.dtype.kind not in "fiub" or matrix.dtype.itemsize > 8:
        raise InputError(f"The features have dtype {matrix.dtype}; expected real numbers of at most 64 bits.")
    if matrix.dtype == np.float16 or matrix.dtype.kind == "b":
        matrix = matrix.astype(np.float32)
    n_samples, n_features = matrix.shape
    if n_samples == 0:
        raise InputError("The data set is empty: 0 samples; expected at least 2.")
    if n_features == 0:
        raise InputError(f"0 feature(s) (shape={matrix.shape}) while a minimum of 1 is required.")
    _require_finite(matrix)
    if n_samples < 2:
        raise InputError(f"The data set has {n_samples} sample; expected at least 2, one to leave out and one to keep.")
    return matrix


def _require_finite(matrix: np.ndarray) -> None:
    if matrix.dtype.kind != "f" or np.isfinite(matrix.sum(dtype=np.float64)):
        return
    bad = ~np.isfinite(matrix)
    if not bad.any():
        return
    row, column = map(int, np.argwhere(bad)[0])
    raise InputError(
        f"The features contain {int(bad.sum())} NaN or infinite values in {int(bad.any(1).sum())} samples, the first "
        f"at row {row}, column {column}. Remove these samples or fill the values in, then score again."
    )


def _one_dimensional(values: Any, name: str, n_samples: int) -> np.ndarray:
    array = to_numpy(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"The {name} have shape {array.shape}; expected one axis of {n_samples} values.")
    if len(array) != n_samples:
        raise InputError(f"There are {n_samples} samples but {len(array)} {name}; expected one for each sample.")
    return array


def _classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    if labels.dtype.kind == "S":
        labels = labels.astype(str)
    if labels.dtype.kind == "O":
        labels = _one_type(labels, "labels")
    if labels.dtype.kind not in "OUiub":
        raise InputError(f"Unknown label type: dtype {labels.dtype}; expected integers, strings or booleans.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"All labels are {classes.tolist()[0]!r}: only one class; expected at least 2 classes.")
    return classes, codes.astype(np.int64)


def _one_type(values: np.ndarray, name: str) -> np.ndarray:
    """Objects of one storable type (n,)."""
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise InputError(f"The {name} mix types ({', '.join(kinds)}); expected one type, e.g. all strings.")
    if not isinstance(values[0], str | int | bool | np.integer | np.bool_):
        raise InputError(f"The {name} are of type {kinds[0]}; expected strings, integers or booleans.")
    return values


def _ids(ids: np.ndarray) -> np.ndarray:
    if ids.dtype.kind == "S":
        ids = ids.astype(str)
    if ids.dtype.kind == "O":
        ids = _one_type(ids, "ids")
    _require_storable(ids, "The ids")
    unique, counts = np.unique(ids.astype(str), return_counts=True)
    if len(unique) < len(ids):
        raise InputError(
            f"The ids are not unique: {str(unique[counts > 1][0])!r} occurs {counts.max()} times; expected one a sample."
        )
    return ids


def to_numpy(values: Any) -> np.ndarray:
    """numpy array of numpy, pandas, torch (any device) or nested-list input."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(values, pd.DataFrame | pd.Series | pd.Index):
        values = values.to_numpy()
    if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1 and str in map(type, values):
        return np.array(values, dtype=object)  # else numpy writes numbers and gaps as text
    return np.asarray(values)
