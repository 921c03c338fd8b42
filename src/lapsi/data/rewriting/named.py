"""What the names inside a file mean that is written again."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.data.readers.columns import (
    CLASS_NAMES,
    FEATURE_NAMES,
    ID_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    TEXT_NAMES,
    Columns,
    first_of,
)
from lapsi.data.rewriting.decided import Decided
from lapsi.errors import InputError


@dataclass(frozen=True, slots=True)
class Named:
    """What the arrays or columns of a file are.

    Attributes:
        labels: that with the labels, or several with commas; None where none is called so.
        class_names: that which names the classes that the labels count.
        paths: that with paths of images which are relative to the folder of the file.
        by_sample: those known to hold a value for each sample.
    """

    labels: str | None = None
    class_names: str | None = None
    paths: str | None = None
    by_sample: frozenset[str] = frozenset()

    def cut(self, name: str, shape: tuple[int, ...], decided: Decided, place: str) -> bool:
        """Whether an array goes by sample, so that it loses the rows of those that were removed.

        Raises:
            InputError: when it may as well go by feature.
        """
        if name == self.class_names or not shape or shape[0] != decided.n_source:
            return False
        if decided.n_source in decided.widths and name not in self.by_sample:
            raise InputError(
                f"{place} has as many samples as features, {shape[0]}, and it is not known which of them the array {name!r} "
                "goes by; write .csv, .parquet or .json."
            )
        return True


def named_by(columns: Columns, names: list[str], place: str, *, has_files: bool) -> Named:
    """Those of a file of labelled samples that has these `names`; `has_files`: whether its images are files.

    Raises:
        InputError: when the file has none that it should have.
    """
    labels = columns.labels or first_of(LABEL_NAMES, names)
    images = columns.images or (None if columns.features or columns.texts else first_of(IMAGE_NAMES, names))
    asked = {labels, columns.features, columns.ids, columns.weights, columns.images, columns.texts}
    usual = {*FEATURE_NAMES, *ID_NAMES, *IMAGE_NAMES, *TEXT_NAMES}
    known = asked | usual | set(columns.carried(names, place).values())
    return Named(
        labels=labels,
        class_names=columns.class_names or CLASS_NAMES,
        paths=images if has_files else None,
        by_sample=frozenset(name for name in known if name is not None),
    )
