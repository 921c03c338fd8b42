"""Labelled features, validated once. Every later room trusts what it finds here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lapsi.data.arrays import decoded, feature_matrix, one_dimensional, to_numpy
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
DIGEST = "v2-"
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
        n_source: samples of the source, those that could not be read among them.
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
    n_source: int
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
        names = [_plain(self.classes), _plain(self.ids)]
        header = [self.features.shape, str(self.features.dtype), self.features_hash, *names]
        digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
        if not self.features_hash:
            digest.update(np.ascontiguousarray(self.features).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return DIGEST + digest.hexdigest()

    def has_digest(self, digest: str) -> bool:
        """Whether these are the data of a digest, be it without a mark: so were those that did not tell "1" and 1 apart."""
        return digest == (self.digest() if digest.startswith(DIGEST) else self._first_digest())

    def _first_digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.features.shape, str(self.features.dtype))).encode())
        digest.update(self.features_hash.encode() or np.ascontiguousarray(self.features).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        for names in (self.classes, self.ids):
            digest.update("\x00".join(map(str, names.tolist())).encode())
        return digest.hexdigest()


def same_digest(first: str, second: str) -> bool | None:
    """Whether two digests are of equal data; None where only one of them has a mark, so that they cannot be compared."""
    return first == second if first.startswith(DIGEST) == second.startswith(DIGEST) else None


def _plain(names: np.ndarray) -> list[Any]:
    """Plain JSON values (n,)."""
    return list(map(str, pd.Index(names))) if names.dtype.kind in "mM" else names.tolist()


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
    source: str = "arrays",
) -> Dataset:
    """A validated data set.

    Args:
        features: (N, d) numbers: numpy array, torch tensor, pandas frame or nested lists.
        labels: (N,) integers, strings or booleans; gaps are fine. pandas and torch objects too.
        ids: (N,) unique identifiers; None numbers the rows, or takes the index of a pandas frame where it is unique.
        columns: what else is known of the samples, (N,) each by name, or a pandas frame; usual names: `CARRIED`.
        source: where the data came from.

    Raises:
        InputError: for anything that cannot be scored, saying what was got and what to do.
    """
    if ids is None and isinstance(features, pd.DataFrame) and features.index.is_unique:
        ids = features.index
    matrix = feature_matrix(features)
    classes, codes = to_classes(one_dimensional(labels, "labels", len(matrix)))
    identifiers = np.arange(len(matrix)) if ids is None else _ids(one_dimensional(ids, "ids", len(matrix)))
    known = make_columns(columns, len(matrix))
    return Dataset(matrix, codes, classes, identifiers, source, known, np.arange(len(matrix)), len(matrix))


def make_columns(columns: Mapping[str, Any] | pd.DataFrame | None, n_samples: int) -> pd.DataFrame:
    """What travels along with the samples, (N rows).

    Raises:
        InputError: when a column has another length or more than one axis, or holds what a Parquet file cannot, or when two
            have one name.
    """
    whole: dict[str, Any] = {}
    for key, held in ({} if columns is None else columns).items():
        name = str(key)
        if name in whole:
            raise InputError(f"Two columns are named {name!r}; rename one of them.")
        values = one_dimensional(held, f"values of {name!r}", n_samples)
        whole[name] = _stored(_as_labels(values, name) if name in LABELS else values, f"The column {name!r}", name)
    return pd.DataFrame(whole, index=pd.RangeIndex(n_samples))


def _as_labels(values: np.ndarray, name: str) -> Any:
    """Second labels (n,) as the given labels are: numbers without a fraction as integers, bytes as text; gaps stay gaps."""
    if values.dtype.kind != "f":
        return decoded(values, f"values of {name!r}")
    known = values[~np.isnan(values)]
    return pd.array(values, dtype="Int64") if (known == np.floor(known)).all() else values


def _stored(values: Any, what: str, name: str = "values") -> Any:
    """Values (n,) in a type that keeps them, after writing them to nowhere as a run will when all the work is done.

    Raises:
        InputError: when they cannot be written.
    """
    try:
        column = _with_gaps(values)
        pd.DataFrame({name: column}).to_parquet(pa.MockOutputStream(), index=False)
        return column
    except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise InputError(f"{what} cannot be stored ({reason}); convert it to text in UTF-8 or numbers of 64 bits.") from error


def _with_gaps(values: Any) -> Any:
    """Integers beside gaps (n,), which would be read back as floating-point numbers, in a type that has gaps; else the same."""
    if values.dtype.kind != "O" or pd.api.types.infer_dtype(values, skipna=True) != "integer":
        return values
    missing = pd.isna(values)
    whole = to_numpy(np.where(missing, 0, values))
    return pd.arrays.IntegerArray(whole, missing) if whole.dtype.kind in "iu" else values


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
        labels = _one_type(labels, "labels")
    if labels.dtype.kind not in "OUiub":
        raise InputError(f"Unknown label type: dtype {labels.dtype}; expected integers, strings or booleans.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"All labels are {classes.tolist()[0]!r}: only one class; expected at least 2 classes.")
    _require_names(classes, "labels")
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
    ids = decoded(ids, "ids")
    missing = pd.isna(ids)
    if ids.dtype.kind in "OU":
        missing |= ids.astype(object) == ""
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} ids are missing (NaN, None or empty), the first at row {int(np.argmax(missing))}. "
            "Give every sample one, or leave the ids out to number them."
        )
    if ids.dtype.kind == "O":
        ids = _one_type(ids, "ids")
    _require_names(ids, "ids")
    unique, counts = np.unique(ids.astype(str), return_counts=True)
    if len(unique) < len(ids):
        raise InputError(
            f"The ids are not unique: {str(unique[counts > 1][0])!r} occurs {counts.max()} times; expected one a sample."
        )
    return ids


def _require_names(values: np.ndarray, what: str) -> None:
    """Refuses what would not come back as it is: neither numpy nor CSV keeps a NUL in a text."""
    ended = [value for value in values.tolist() if isinstance(value, str) and "\0" in value]
    if ended:
        raise InputError(f"The {what} hold a NUL, the first in {ended[0]!r}, where text ends for numpy; take it out.")
    _stored(values, f"The {what}")
