"""What the targets of a data set are, told before the work."""

from __future__ import annotations

import numpy as np

from lapsi.data.targets import ClassTargets, MultiLabelTargets, RealTargets, Targets, label_set

SHOWN = 40  # letters of a class


def in_words(targets: Targets) -> str:
    """E.g. "3 classes (smallest 12)", "numbers (regression)"; "" of what is no label."""
    if isinstance(targets, ClassTargets):
        return f"{len(targets.classes):,} classes (smallest {_sizes(targets).min():,})"
    if isinstance(targets, MultiLabelTargets):
        fewest = int(targets.present.sum(0).min())
        return f"{targets.n_outputs:,} labels, each there or not (multilabel; the rarest {fewest:,} times)"
    if isinstance(targets, RealTargets):
        return "numbers (regression)" if targets.n_outputs == 1 else f"{targets.n_outputs:,} numbers a sample (regression)"
    return ""


def doubt(targets: Targets) -> str:
    """Why they are hardly classes: most have one sample, or some are written as several labels; "" where that is not so."""
    if not isinstance(targets, ClassTargets):
        return ""
    several = [name for name in map(str, targets.classes) if len(label_set(name)) > 1]
    if several:
        return (
            f"{len(several):,} of {len(targets.classes):,} classes are written as several labels, e.g. {several[0][:SHOWN]!r}; "
            "each such text counts as one class. For several labels a sample ask for task 'multilabel'."
        )
    sizes = _sizes(targets)
    single = int((sizes == 1).sum())
    if 2 * single <= len(sizes):
        return ""
    return (
        f"{single:,} of {len(sizes):,} classes have one sample only, of which a model without it knows nothing. Are these "
        "texts, names or numbers rather than classes? Name another column as labels, or ask for task 'regression'."
    )


def alike(targets: Targets) -> str:
    """Which classes differ by case or spaces alone; "" where none do."""
    if not isinstance(targets, ClassTargets) or targets.classes.dtype.kind not in "OU":
        return ""
    by_letters: dict[str, list[str]] = {}
    for name in map(str, targets.classes):
        by_letters.setdefault(" ".join(name.casefold().split()), []).append(name)
    same = [names for names in by_letters.values() if len(names) > 1]
    if not same:
        return ""
    more = f", and so do {len(same) - 1} more sets" if len(same) > 1 else ""
    return (
        f"The classes {', '.join(map(repr, same[0]))} differ by case or spaces alone{more}; each counts as a class of its own."
    )


def _sizes(targets: ClassTargets) -> np.ndarray:
    """(C,) samples of each class."""
    return np.bincount(targets.codes, minlength=len(targets.classes))
