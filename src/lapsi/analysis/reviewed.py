"""The targets of a run as a review names them: how each kind is read, compared and written."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from lapsi.data.targets import SEPARATOR, as_shown, label_set, label_sets
from lapsi.errors import InputError
from lapsi.results.evidence.numbers import given_numbers
from lapsi.results.scores import Scores
from lapsi.settings.task import CLASSES, MULTILABEL, PAIRS, REGRESSION, TOKENS

INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")
LISTED = 12  # classes in a message


@dataclass(frozen=True, slots=True, eq=False)
class Reviewed(ABC):
    """The targets of a run."""

    scores: Scores
    noun: ClassVar[str]  # what a target is called
    done: ClassVar[str]  # what is told of those with a new one
    named_by: ClassVar[str]  # the column of the table by which a review tells which sample it means
    may_be_empty: ClassVar[bool]  # whether no text is an answer to relabel, be it that it is refused

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Those of the table that hold them."""

    @abstractmethod
    def same(self, row: int, text: str) -> bool:
        """Whether a text means the target that is given."""

    @abstractmethod
    def read(self, record: dict[str, str], new_classes: bool) -> list[Any]:
        """What a review relabels a sample to, a value for each of `columns`.

        Raises:
            InputError: when it is no target of the run.
        """


@final
class ReviewedClasses(Reviewed):
    """One class a sample."""

    noun: ClassVar[str] = "label"
    done: ClassVar[str] = "relabelled"
    named_by: ClassVar[str] = "label"
    may_be_empty: ClassVar[bool] = False

    @property
    def columns(self) -> list[str]:
        return ["label"]

    def same(self, row: int, text: str) -> bool:
        return text == str(self.scores.table["label"].iloc[row])

    def read(self, record: dict[str, str], new_classes: bool) -> list[Any]:
        known = {str(value): value for value in self.scores.classes.tolist()}
        text = record["new_label"]
        return [known[text] if text in known else _new_class(self.scores, record, new_classes)]


@final
class ReviewedLabels(Reviewed):
    """Several labels a sample, in any order with `|` between them."""

    noun: ClassVar[str] = "labels"
    done: ClassVar[str] = "relabelled"
    named_by: ClassVar[str] = "label"
    may_be_empty: ClassVar[bool] = True

    @property
    def columns(self) -> list[str]:
        return ["label"]

    def same(self, row: int, text: str) -> bool:
        return label_set(text) == label_set(self.scores.table["label"].iloc[row])

    def read(self, record: dict[str, str], new_classes: bool) -> list[Any]:
        """Known labels stand in their order, new ones behind them."""
        names, wanted = self.scores.outputs.astype(str), label_set(record["new_label"])
        new = sorted(wanted - set(names))
        if new and not new_classes:
            raise InputError(
                f"The review relabels sample {record['id']!r} to {record['new_label']!r}, but {new[0]!r} is no label of this "
                f"run ({_listed(self.scores)}); allow it with --new-classes (new_classes=True)."
            )
        known = label_sets(np.array([[name in wanted for name in names]]), names)[0]
        return [SEPARATOR.join([*([known] if known else []), *new])]


@final
class ReviewedNumbers(Reviewed):
    """One number a sample, or several with commas between them."""

    noun: ClassVar[str] = "target"
    done: ClassVar[str] = "changed"
    named_by: ClassVar[str] = "label"
    may_be_empty: ClassVar[bool] = False

    @property
    def columns(self) -> list[str]:
        names = self.scores.outputs
        return ["label"] if len(names) == 1 else ["label", *(f"label_{name}" for name in names)]

    def same(self, row: int, text: str) -> bool:
        table = self.scores.table.iloc[[row]]
        given = given_numbers(table, self.scores.outputs)[0].tolist()
        return text == str(table["label"].iloc[0]) or _numbers(text) == given

    def read(self, record: dict[str, str], new_classes: bool) -> list[Any]:
        numbers, wanted = _numbers(record["new_label"]), len(self.scores.outputs)
        if numbers is None or len(numbers) != wanted:
            expected = "a finite number" if wanted == 1 else f"{wanted} finite numbers with commas between them"
            raise InputError(
                f"The review changes the target of sample {record['id']!r} to {record['new_label']!r}; expected {expected}."
            )
        return numbers if wanted == 1 else [as_shown(np.array([numbers]))[0], *numbers]


class ReviewedWhole(Reviewed):
    """What has no label that could be changed: a review keeps or removes it."""

    done: ClassVar[str] = "changed"
    may_be_empty: ClassVar[bool] = True
    kind: ClassVar[str]  # what it is

    @property
    def columns(self) -> list[str]:
        return []

    def read(self, record: dict[str, str], new_classes: bool) -> list[Any]:
        raise InputError(f"The review relabels {record['id']!r}, but a {self.kind} has no label to change; keep or remove it.")


@final
class ReviewedTokens(ReviewedWhole):
    """The tokens of a text."""

    noun: ClassVar[str] = "length"
    named_by: ClassVar[str] = "label"
    kind: ClassVar[str] = "text"

    def same(self, row: int, text: str) -> bool:
        return text == str(self.scores.table["label"].iloc[row])


@final
class ReviewedPairs(ReviewedWhole):
    """Two sides that belong together or not; a review names a pair by its leave-one-out rank."""

    noun: ClassVar[str] = "rank"
    named_by: ClassVar[str] = "loo_label"
    kind: ClassVar[str] = "pair"

    def same(self, row: int, text: str) -> bool:
        given, numbers = self.scores.table["loo_label"].iloc[row], _numbers(text)
        return numbers is not None and list(map(np.float32, numbers)) == [np.float32(given)]  # what the page holds of it


REVIEWED: dict[str, type[Reviewed]] = {
    CLASSES: ReviewedClasses,
    MULTILABEL: ReviewedLabels,
    REGRESSION: ReviewedNumbers,
    TOKENS: ReviewedTokens,
    PAIRS: ReviewedPairs,
}


def reviewed_targets(scores: Scores) -> Reviewed:
    """The targets of a run, of whatever kind."""
    return REVIEWED[scores.task](scores)


def _numbers(text: str) -> list[float] | None:
    """None where the text holds anything but finite numbers."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() and "_" not in text else None


def _listed(scores: Scores) -> str:
    names = scores.outputs.tolist()
    return ", ".join(map(str, names[:LISTED])) + (", …" if len(names) > LISTED else "")


def _new_class(scores: Scores, record: dict[str, str], allowed: bool) -> Any:
    name, text = f"The review relabels sample {record['id']!r} to {record['new_label']!r}", record["new_label"]
    if not allowed:
        raise InputError(
            f"{name}, which is no class of this run ({_listed(scores)}); allow it with --new-classes (new_classes=True)."
        )
    if scores.classes.dtype.kind == "b":
        raise InputError(f"{name}, but the labels are True and False; a third class needs labels of another type.")
    return _integer(text, scores.classes.dtype, name) if scores.classes.dtype.kind in "iu" else text


def _integer(text: str, dtype: np.dtype[Any], name: str) -> int:
    """A new integer class, written as the known ones are: `1_000`, ` 7`, `007` and digits of other scripts are none."""
    bounds = np.iinfo(np.uint64 if dtype == np.uint64 else np.int64)
    if not INTEGER.fullmatch(text) or not bounds.min <= int(text) <= bounds.max:
        raise InputError(
            f"{name}, but the labels are integers; expected an integer in plain digits from {bounds.min} to {bounds.max}."
        )
    return int(text)
