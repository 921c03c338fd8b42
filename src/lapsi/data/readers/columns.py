"""Which names in a source hold what: given by the user, or usual ones that the source has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from lapsi.errors import InputError, meant
from lapsi.settings.extractor import RAW
from lapsi.settings.objective import TARGETS
from lapsi.settings.option import Choice, Listed, Name, Words, check_options, flag_of, option
from lapsi.settings.task import TASKS

FEATURE_NAMES = ("features", "X", "x", "embeddings", "embedding", "features_train", "X_train")
LABEL_NAMES = ("labels", "label", "y", "target", "labels_train", "y_train")
IMAGE_NAMES = ("image", "img", "images", "path", "file_name", "filepath", "image_path")
TEXT_NAMES = ("text", "texts", "sentence", "review", "content")
ID_NAMES = ("id", "ids", "sample_id")
# what files beside one of features may hold: the attribute of `Columns` that names them
IN_FILES = {name: name for name in ("labels", "ids", "weights", "group", "split")} | {"reference_label": "reference_labels"}
CLASS_NAMES = "class_names"
LISTED_AT_MOST = 12
RESERVED = {"id", "row", "label", "path", "text", "original_label", "corrupted", "corruption"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names inside a source; None takes a usual name that it has.

    Attributes:
        features: array or list column with the features; or columns of a table, with commas between them.
        prefix: tables only: every numeric column whose name starts so is a feature.
        labels: array or column with the labels, or several columns with commas; for `.npy` and sparse matrices,
            the path of the second file, or FILE:NAME.
        ids: array or column with the identifiers.
        images: column with paths or encoded images, or an array of images.
        texts: column with texts.
        group: column with the contributor, patient or source of each sample; carried along.
        split: column with the part of the data set; carried along.
        reference_labels: column with second labels; carried along.
        class_names: array with a name for each integer label.
        weights: column with how often each sample counts.
        task: what the labels are; None tells by their type.
        keep: more columns to carry along.
        drop: columns of a table that are no features.
    """

    features: str | None = option(
        None, Listed(), "Array or list column with the features, or columns of a table: with commas, or given several times."
    )
    prefix: str | None = option(None, Name(), "Tables: all columns whose names start so are features.", flag="feature-prefix")
    labels: str | None = option(None, Listed(), "Array or column with the labels; for .npy another file, or FILE:NAME.")
    ids: str | None = option(None, Name(), "Array or column with unique identifiers.")
    images: str | None = option(None, Name(), "Column with image paths or images.", panel=RAW)
    texts: str | None = option(None, Name(), "Column with texts.", panel=RAW)
    group: str | None = option(None, Name(), "Column with contributor, patient or source of each sample; kept.")
    split: str | None = option(None, Name(), "Column with the part of the data set; kept.", flag="split-column")
    reference_labels: str | None = option(None, Name(), "Column with second labels (truth, re-annotation); kept.")
    class_names: str | None = option(None, Name(), "Array with a name for each integer label.")
    weights: str | None = option(None, Name(), "Array or column with how often each sample counts.", panel=TARGETS)
    task: str | None = option(
        None, Choice(TASKS, optional=True), "What the labels are; auto: as their type says.", panel=TARGETS
    )
    keep: tuple[str, ...] = option((), Words(), "More columns to keep beside the scores, with commas.")
    drop: tuple[str, ...] = option((), Words(), "Tables: columns that are no features, with commas.")

    def __post_init__(self) -> None:
        check_options(self)

    def carried(self, names: list[str], place: str) -> dict[str, str]:
        """Columns of the source to carry along, by the name they get.

        Raises:
            InputError: when the source has no such column, or two would get one name.
        """
        given = {name for name, value in (("group", self.group), ("split", self.split)) if value is not None}
        given |= set() if self.reference_labels is None else {"reference_label"}
        taken = [name for name in self.keep if name in given | RESERVED]
        if taken:
            raise InputError(
                f"--keep {taken[0]}: that name is taken by what lapsi writes itself; rename the column in {place}."
            )
        asked = {"group": self.group, "split": self.split, "reference_label": self.reference_labels} | {k: k for k in self.keep}
        return {new: require_name(old, names, new.replace("_", " "), place) for new, old in asked.items() if old is not None}

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Refuses options that have no effect.

        Raises:
            InputError: naming the first of the fields `names` that was given.
        """
        flags = {each.name: flag_of(each) for each in fields(self)}
        given = [name for name in names if getattr(self, name) not in (None, ())]
        if given:
            raise InputError(f"--{flags[given[0]]} does not apply: {why}; leave it out.")

    def files(self) -> dict[str, str | None]:
        """Names of the files beside a `.npy` file, by what they hold."""
        return {what: getattr(self, name) for what, name in IN_FILES.items()}


def file_and_name(place: str) -> tuple[Path, str]:
    """What "FILE" or "FILE:NAME" names; "" where it names no array or column."""
    if ":" not in place or Path(place).exists():
        return Path(place), ""
    file, _, name = place.rpartition(":")
    return Path(file), name


def require_name(asked: str, names: list[str], what: str, place: str) -> str:
    """`asked`, which must be there.

    Raises:
        InputError: naming those that are there, and the nearest.
    """
    if asked not in names:
        raise InputError(f"{place} has no {what} named {asked!r}; it has {listed(names)}.{meant(asked, names)}{_parted(names)}")
    return asked


def _parted(names: list[str]) -> str:
    """What to do where a table has one column whose name looks like those of several, or ""."""
    mark = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]), None)
    return "" if mark is None else f" Its columns seem to be parted by {mark!r}; save it with commas between them."


def choose_name(
    asked: str | None, usual: Iterable[str], names: list[str], what: str, place: str, more: str = "", named: str = ""
) -> str:
    """`asked`, or the first of the usual names that the source has.

    `named`: the option or argument that names it, for errors; "": the option --`what`.

    Raises:
        InputError: when there is none; `more` is added to the advice.
    """
    if asked is not None:
        return require_name(asked, names, what, place)
    found = first_of(usual, names)
    if found is None:
        way = f"Name it with {named or f'--{what}'}{more}"
        raise InputError(f"{place}: which holds the {what}? {way}; it has {listed(names)}.{_parted(names)}")
    return found


def first_of(usual: Iterable[str], names: list[str]) -> str | None:
    """The first of the usual names that is there, or None."""
    return next((name for name in usual if name in names), None)


def listed(names: list[str]) -> str:
    """Names for a message."""
    shown = ", ".join(names[:LISTED_AT_MOST])
    return f"{shown}, … ({len(names)} in all)" if len(names) > LISTED_AT_MOST else shown or "nothing"
