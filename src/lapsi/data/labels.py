"""From labels, as users hold them, to what every sample is to be predicted as: told by their type, or asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import are_uneven, decoded, one_dimensional, to_numpy
from lapsi.data.storable import one_type, require_names
from lapsi.data.targets import SEPARATOR, ClassTargets, MultiLabelTargets, RealTargets, Targets, label_set
from lapsi.errors import InputError
from lapsi.settings.task import AUTO, CLASSES, MULTILABEL, REGRESSION, TASKS

FEW_VALUES = 20  # floating-point numbers without a fraction are classes up to so many, or where
SHOWN = 60  # letters of a label in a message
PER_VALUE = 5  # so many samples share each


def make_targets(labels: Any, n_samples: int, task: str | None = None, weights: np.ndarray | None = None) -> Targets:
    """The targets of N samples.

    Args:
        labels: (N,) classes or numbers; (N, K) indicators of labels or numbers; (N,) lists of labels.
        n_samples: N.
        task: what they are; None and "auto" tell by their type (`task_of`).
        weights: (N,) of the samples, by which numbers are centred and scaled.

    Raises:
        InputError: when they are none of the task, naming the one that would take them.
    """
    values, names = _with_names(labels)
    if task in (None, AUTO):
        task = task_of(values, n_samples)
        _require_no_one_hot(values, task)
    if task not in TASKS:
        raise InputError(f"task is {task!r}; expected 'auto' or one of {', '.join(map(repr, TASKS))}.")
    if task != MULTILABEL:
        _require_one_each(values, task)
    if task == CLASSES:
        classes, codes = to_classes(one_dimensional(_flat(values, n_samples), "labels", n_samples))
        return ClassTargets(codes, classes)
    if task == MULTILABEL:
        return _multi_label(values, names, n_samples)
    return real_targets(_numbers(values, n_samples), names, weights)


def task_of(labels: np.ndarray, n_samples: int) -> str:
    """What labels (N,) or (N, K) are, by their type.

    Several columns are labels where all are 0 or 1, else numbers; lists are labels. One column is classes, unless it holds
    floating-point numbers with a fraction, or so many different ones that few samples share each.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        return MULTILABEL if labels.dtype.kind in "biuf" and bool(np.isin(labels, (0, 1)).all()) else REGRESSION
    if _first_list(labels) is not None:
        return MULTILABEL
    if labels.dtype.kind != "f":
        return CLASSES
    known = labels[np.isfinite(labels)]
    if (known != np.floor(known)).any():
        return REGRESSION
    n_values = len(np.unique(known))
    return REGRESSION if n_values > max(FEW_VALUES, n_samples / PER_VALUE) else CLASSES


def to_classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes (C,), sorted, and the position of each label (N,) among them.

    Raises:
        InputError: when a label is missing, or of a type that is none of classes; or there is one class only.
    """
    missing = pd.isna(labels)
    if missing.any():
        count, first = int(missing.sum()), int(np.argmax(missing))
        told = "One label is missing" if count == 1 else f"{count:,} labels are missing"
        where = f"at row {first}" if count == 1 else f"the first at row {first}"
        raise InputError(f"{told} (NaN or None), {where}, counted from 0. Remove these samples or label them.")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise InputError(
                "Unknown label type: the labels are continuous numbers; expected classes (integers or strings), or task "
                "'regression'."
            )
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


def real_targets(numbers: np.ndarray, names: np.ndarray | None = None, weights: np.ndarray | None = None) -> RealTargets:
    """Numbers (N, K), each column centred and divided by its standard deviation.

    Raises:
        InputError: when one is missing or infinite, or a column is constant.
    """
    n_outputs = numbers.shape[1]
    names = _numbered("target", n_outputs) if names is None else names
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.any(1).argmax())
        raise InputError(
            f"{int(wrong.any(1).sum())} targets are missing or infinite, the first at row {row}. Remove these samples or fill "
            "the values in."
        )
    mean = np.average(numbers, 0, weights)
    scale = np.sqrt(np.average(np.square(numbers - mean), 0, weights))
    constant = np.flatnonzero(~(scale > 1e-12 * np.abs(mean)))
    if len(constant) > 0:
        raise InputError(
            f"The target {str(names[constant[0]])!r} is {numbers[0, constant[0]]:g} for every sample: nothing to learn."
        )
    if not np.isfinite(scale).all():
        raise InputError("The targets are too large for float64 (their squares overflow); divide them by a constant first.")
    return RealTargets(numbers, mean, scale, names)


def _first_list(labels: np.ndarray) -> int | None:
    """The first row whose label is a list of several; None where there is none."""
    if labels.dtype.kind != "O" or labels.ndim != 1:
        return None
    return next((row for row, each in enumerate(labels) if isinstance(each, list | tuple | set | np.ndarray)), None)


def _require_one_each(values: np.ndarray, task: str) -> None:
    """Refuses lists of labels, and columns of words, where one label or number a sample is expected."""
    row = _first_list(values)
    if row is not None:
        raise InputError(
            f"The labels are lists, the first in row {row}: {str(values[row])[:SHOWN]}; several labels a sample are task "
            f"'multilabel', task {task!r} takes one value for each."
        )
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "OUS" and isinstance(values.flat[0], str | bytes):
        raise InputError(
            f"The labels are words in {values.shape[1]} columns; for several labels a sample pass lists of them "
            "(labels.tolist()), for one class a sample one column."
        )


def _require_no_one_hot(values: np.ndarray, task: str) -> None:
    if task == MULTILABEL and values.ndim == 2 and (values.sum(1) == 1).all():
        raise InputError(
            f"Each of the {len(values)} rows of labels has exactly one label of {values.shape[1]}: for one class a sample pass "
            "labels.argmax(1); if several labels are meant, ask for task 'multilabel'."
        )


def _with_names(labels: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The values, and the names of their columns where they have some."""
    if isinstance(labels, pd.DataFrame):
        return to_numpy(labels), np.asarray(labels.columns.astype(str), dtype=object)
    if are_uneven(labels) or (isinstance(labels, list | tuple) and any(_is_named(each) for each in labels)):
        values = np.empty(len(labels), dtype=object)
        values[:] = list(labels)
        return values, None
    return to_numpy(labels), None


def _is_named(each: Any) -> bool:
    """Whether a sample's labels are a list of names, or of nothing."""
    return isinstance(each, set) or (isinstance(each, list | tuple) and all(isinstance(label, str) for label in each))


def _flat(values: np.ndarray, n_samples: int) -> np.ndarray:
    if values.ndim == 2 and values.shape[1] > 1:
        raise InputError(
            f"The labels have shape {values.shape}; expected one axis of {n_samples} values, or task 'multilabel' or "
            "'regression'."
        )
    return values


def _numbers(values: np.ndarray, n_samples: int) -> np.ndarray:
    """(N, K) float64."""
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"The targets are of type {values.dtype}, not all numbers; expected numbers for task 'regression', or task "
            "'classes'."
        ) from None
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if numbers.ndim != 2 or len(numbers) != n_samples:
        raise InputError(
            f"The targets have shape {values.shape}; expected one number, or a row of them, for each of {n_samples}."
        )
    return numbers


def _multi_label(values: np.ndarray, names: np.ndarray | None, n_samples: int) -> MultiLabelTargets:
    if values.ndim == 1 and values.dtype.kind in "OUS":
        values, names = _indicators(decoded(values, "labels"))
    indicators = values[:, None] if values.ndim == 1 else values
    if indicators.ndim != 2 or len(indicators) != n_samples:
        raise InputError(f"The labels have shape {values.shape}; expected (n_samples, n_labels), {n_samples} rows.")
    if indicators.dtype.kind not in "biuf" or not np.isin(indicators, (0, 1)).all():
        raise InputError(
            "The labels hold other values than 0 and 1; expected an indicator for each label, or lists of labels. Numbers are "
            "task 'regression', one class a sample is task 'classes'."
        )
    present = indicators.astype(np.float64)
    names = _numbered("label", present.shape[1]) if names is None else names
    count = present.sum(0)
    one_sided = np.flatnonzero((count == 0) | (count == len(present)))
    if len(one_sided) > 0:
        k = int(one_sided[0])
        state = "no sample has" if count[k] == 0 else "all samples have"
        raise InputError(f"{state.capitalize()} the label {str(names[k])!r}; there is nothing to learn: leave it out.")
    return MultiLabelTargets(present, names)


def _indicators(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indicators (N, K) and names (K,) of lists of labels, or of texts with `SEPARATOR` between labels."""
    sets: list[set[str]] = []
    for row, given in enumerate(labels):
        each = given
        if isinstance(given, str):
            each = label_set(given)
        elif not isinstance(each, list | tuple | set | np.ndarray):
            raise InputError(
                f"The labels of row {row} are {each!r}; expected a list of labels, or text with {SEPARATOR!r} between."
            )
        sets.append({str(label) for label in each})
    names = sorted(set().union(*sets))
    if not names:
        raise InputError("No sample has any label; expected some.")
    empty = [row for row, each in enumerate(sets) if not each]
    if empty:
        raise InputError(
            f"{len(empty)} samples have no label, the first in row {empty[0]}. Label them, remove them or, where none is "
            "meant, give indicators (a column of 0 and 1 for each label)."
        )
    position = {name: k for k, name in enumerate(names)}
    present = np.zeros((len(sets), len(names)))
    for row, each in enumerate(sets):
        present[row, [position[name] for name in each]] = 1.0
    return present, np.array(names, dtype=object)


def _numbered(word: str, count: int) -> np.ndarray:
    return np.array([word] if count == 1 else [f"{word}_{k}" for k in range(count)], dtype=object)
