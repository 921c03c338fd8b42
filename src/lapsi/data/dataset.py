"""Labelled features, validated once. Every later room trusts what it finds here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import decoded, feature_matrix, one_dimensional
from lapsi.data.blocks import ArrayBlocks, Blocks, Survey, survey, widened, widened_type
from lapsi.data.labels import make_targets
from lapsi.data.storable import one_type, require_names, stored
from lapsi.data.targets import ClassTargets, Targets
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
DIGEST = "v2-"


@dataclass(frozen=True, slots=True)
class Dataset:
    """N labelled samples with d numeric features. Build it with `make_dataset`.

    Attributes:
        features: (N, d) finite numbers, as given.
        survey: what one pass over them told.
        targets: what the samples are to be predicted as.
        ids: (N,) one identifier a sample, unique.
        source: where the data came from, for the record.
        columns: (N rows) what else is known of the samples and travels along to the scores; see `CARRIED`.
        rows: (N,) position of each sample in its source, ascending; other than 0…N−1 where some could not be read.
        n_source: samples of the source, those that could not be read among them.
        features_hash: of what the features were made from, where an extractor made them (their last bits may differ from one
            batch size to another); else "".
        made_by: what the source says of its features: extractor and licence, plain JSON values.
        weights: (N,) float64, how often each sample counts; None: once.
        said: how the source was read, where that needs a word; else "".
        own_units: whether the features are those of columns of a table, each of which may have a unit of its own.
    """

    features: Blocks
    survey: Survey
    targets: Targets
    ids: np.ndarray
    source: str
    columns: pd.DataFrame
    rows: np.ndarray
    n_source: int
    features_hash: str = ""
    made_by: dict[str, Any] = field(default_factory=dict)
    weights: np.ndarray | None = None
    said: str = ""
    own_units: bool = False

    @property
    def class_targets(self) -> ClassTargets:
        """The targets, where they are classes.

        Raises:
            InputError: when they are something else.
        """
        if not isinstance(self.targets, ClassTargets):
            raise InputError(f"The targets are those of task {self.targets.task!r}; expected classes for this.")
        return self.targets

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64, positions in `classes`."""
        return self.class_targets.codes

    @property
    def classes(self) -> np.ndarray:
        """(C,) the label values as given, sorted."""
        return self.class_targets.classes

    @property
    def n_samples(self) -> int:
        """N."""
        return len(self.targets)

    @property
    def n_features(self) -> int:
        """d, without the constant that the probe adds."""
        return self.features.shape[1]

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.classes)

    def digest(self) -> str:
        """Hash of features, targets, their names, weights and ids: equal for equal data."""
        made_from, names = self.features_hash or self.survey.digest, _plain(self.targets.names)
        header = [self.features.shape, self._type(), made_from, names, _plain(self.ids)]
        digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.targets.values).data)
        if self.weights is not None:
            digest.update(np.ascontiguousarray(self.weights).data)
        return DIGEST + digest.hexdigest()

    def with_labels(self, codes: np.ndarray) -> Dataset:
        """The same with other labels (N,), positions in `classes`."""
        return replace(self, targets=ClassTargets(codes, self.classes))

    def balanced(self) -> Dataset:
        """The same, each class of the same weight: weights times W/(C·W_c), W_c that of the samples of a class.

        Raises:
            InputError: when the targets are no classes.
        """
        given = np.ones(self.n_samples) if self.weights is None else self.weights
        by_class = np.bincount(self.labels, given, self.n_classes)
        if (by_class == 0).any():
            name = self.classes[int(np.argmin(by_class))]
            raise InputError(
                f"All samples of class {str(name)!r} have the weight 0, so classes cannot be balanced; leave it out."
            )
        return replace(self, weights=given * (given.sum() / (self.n_classes * by_class))[self.labels])

    def with_features(self, features: Blocks, features_hash: str) -> Dataset:
        """The same with other features (N, d)."""
        return replace(self, features=features, survey=survey(features, self.weights), features_hash=features_hash)

    def has_digest(self, digest: str) -> bool:
        """Whether these are the data of a digest, be it without a mark: so were those that did not tell "1" and 1 apart."""
        return digest == (self.digest() if digest.startswith(DIGEST) else self._first_digest())

    def _first_digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.features.shape, self._type())).encode())
        if self.features_hash:
            digest.update(self.features_hash.encode())
        else:
            for _, block in self.features.blocks():
                digest.update(np.ascontiguousarray(widened(block)).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        for names in (self.classes, self.ids):
            digest.update("\x00".join(map(str, names.tolist())).encode())
        return digest.hexdigest()

    def _type(self) -> str:
        """Of the features, as hashes name it."""
        return str(widened_type(self.features.dtype))


def same_digest(first: str, second: str) -> bool | None:
    """Whether two digests are of equal data; None where only one of them has a mark, so that they cannot be compared."""
    return first == second if first.startswith(DIGEST) == second.startswith(DIGEST) else None


def _plain(names: np.ndarray) -> list[Any]:
    """Plain JSON values (n,)."""
    return list(map(str, pd.Index(names))) if names.dtype.kind in "mM" else names.tolist()


def make_dataset(
    features: Any,
    labels: Any,
    *,
    task: str | None = None,
    weights: Any = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    source: str = "arrays",
) -> Dataset:
    """A validated data set.

    Args:
        features: (N, d) numbers: numpy array, mapped from a file or not, torch tensor, pandas frame, lists, or `Blocks`.
        labels: (N,) integers, strings or booleans; gaps are fine. pandas and torch objects too. Or numbers, or several labels,
            as `make_targets` takes them.
        task: what the labels are, one of `lapsi.settings.task.TASKS`; None and "auto" tell by their type.
        weights: (N,) how often each sample counts; None: once.
        ids: (N,) unique identifiers; None numbers the rows, or takes the index of a pandas frame where it is unique.
        columns: what else is known of the samples, (N,) each by name, or a pandas frame; usual names: `CARRIED`.
        source: where the data came from.

    Raises:
        InputError: for anything that cannot be scored, saying what was got and what to do.
    """
    if ids is None and isinstance(features, pd.DataFrame) and features.index.is_unique:
        ids = features.index
    blocks = features if isinstance(features, Blocks) else ArrayBlocks(feature_matrix(features))
    n = len(blocks)
    if n < 2:
        raise InputError(f"The data set has {n} sample; expected at least 2, one to leave out and one to keep.")
    counted = None if weights is None else make_weights(weights, n)
    known = survey(blocks, counted)
    targets = make_targets(labels, n, task, counted)
    identifiers = make_ids(ids, n)
    carried = make_columns(columns, n)
    return Dataset(blocks, known, targets, identifiers, source, carried, np.arange(n), n, weights=counted)


def make_weights(weights: Any, n_samples: int) -> np.ndarray:
    """How often each sample counts (N,) float64.

    Raises:
        InputError: when one is missing, negative or infinite, or fewer than two are positive.
    """
    values = one_dimensional(weights, "weights", n_samples)
    try:
        counted = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"The weights are of type {values.dtype}; expected one number of at least 0 for each sample."
        ) from None
    wrong = ~np.isfinite(counted) | (counted < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        state = "missing" if np.isnan(counted[row]) else f"{counted[row]:g}"
        raise InputError(
            f"{int(wrong.sum())} weights are missing, negative or infinite, the first ({state}) at row {row}; expected finite "
            "numbers of at least 0."
        )
    if (counted > 0).sum() < 2:
        raise InputError(
            f"{int((counted > 0).sum())} weights are positive; expected at least 2, one to leave out and one to keep."
        )
    return counted


def make_columns(columns: Mapping[str, Any] | pd.DataFrame | None, n_samples: int) -> pd.DataFrame:
    """What travels along with the samples, (N rows).

    Raises:
        InputError: when a column has another length or more than one axis, or holds what a Parquet file cannot, or when two
            have one name.
    """
    if not isinstance(columns, Mapping | pd.DataFrame | None):
        raise InputError(
            f"columns are a {type(columns).__name__}; expected values by name, e.g. {{'group': [...]}}, or a frame."
        )
    whole: dict[str, Any] = {}
    for key, held in ({} if columns is None else columns).items():
        name = str(key)
        if name in whole:
            raise InputError(f"Two columns are named {name!r}; rename one of them.")
        values = one_dimensional(held, f"values of {name!r}", n_samples)
        whole[name] = stored(_as_labels(values, name) if name in LABELS else values, f"The column {name!r}", name)
    return pd.DataFrame(whole, index=pd.RangeIndex(n_samples))


def _as_labels(values: np.ndarray, name: str) -> Any:
    """Second labels (n,) as the given labels are: numbers without a fraction as integers, bytes as text; gaps stay gaps."""
    if values.dtype.kind != "f":
        return decoded(values, f"values of {name!r}")
    known = values[~np.isnan(values)]
    return pd.array(values, dtype="Int64") if (known == np.floor(known)).all() else values


def make_ids(ids: Any, n_samples: int) -> np.ndarray:
    """Identifiers (N,), one a sample; their numbers for None.

    Raises:
        InputError: when one is missing, or stands there twice.
    """
    if ids is None:
        return np.arange(n_samples)
    ids = decoded(one_dimensional(ids, "ids", n_samples), "ids")
    missing = pd.isna(ids)
    if ids.dtype.kind in "OU":
        missing |= ids.astype(object) == ""
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} ids are missing (NaN, None or empty), the first at row {int(np.argmax(missing))}. "
            "Give every sample one, or leave the ids out to number them."
        )
    if ids.dtype.kind == "O":
        ids = one_type(ids, "ids")
    require_names(ids, "ids")
    names = pd.Series(list(map(str, ids.tolist())), dtype=object)
    repeated = names[names.duplicated(keep=False)]
    if len(repeated) > 0:
        count = int(repeated.value_counts().max())
        raise InputError(f"The ids are not unique: {repeated.min()!r} occurs {count} times; expected one a sample.")
    return ids
