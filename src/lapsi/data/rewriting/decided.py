"""What a person decided about the samples of a file, and how arrays of labels take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lapsi.data.readers.arrow_files import ARROW
from lapsi.data.readers.torch_files import TENSORS
from lapsi.data.targets import label_set
from lapsi.errors import InputError

REWRITTEN = (".npz", ".npy", ".jsonl", ".safetensors", *TENSORS, *ARROW)  # kinds of files


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What becomes of the samples of a file.

    Attributes:
        n_source: their number.
        widths: how many features each has; of pairs those of each side that holds such.
        kept: (n,) positions of those that stay, ascending.
        changed: (k,) positions of those with a new label, among `kept`.
        labels: (k,) these: a class; a number, or a tuple of several; several labels as one text.
        outputs: (K,) what is predicted: the names of classes, labels or numbers.
    """

    n_source: int
    widths: tuple[int, ...]
    kept: np.ndarray
    changed: np.ndarray
    labels: list[Any]
    outputs: np.ndarray

    def require_rows(self, count: int, place: str) -> None:
        """Refuses a table that has not a row a sample.

        Raises:
            InputError: saying so.
        """
        if count != self.n_source:
            raise InputError(f"{place} has {count:,} rows for {self.n_source:,} samples; write another kind of file.")

    def without_labels(self) -> Decided:
        """The same for a file that holds no labels: who stays."""
        return replace(self, changed=self.changed[:0], labels=[])

    def written(self, held: np.ndarray, labels: Sequence[Any] | None = None) -> np.ndarray:
        """Labels of all samples (n_source,), or indicators or numbers (n_source, K), with the new ones among them.

        They keep their type where it holds the new ones. `labels` are written in the place of `labels`.

        Raises:
            InputError: for a label that has no column.
        """
        if len(self.changed) == 0:
            return held
        new = list(self.labels if labels is None else labels)
        if held.ndim == 2 and held.shape[1] > 1:
            new = [self._row(label) for label in new]
        whole = _alike(np.array(new), held)
        array = held.astype(whole.dtype)
        array[self.changed] = whole.reshape(len(whole), *held.shape[1:])
        return array

    def _row(self, label: Any) -> Any:
        """Numbers (K,), or indicators (K,) of the labels in a text."""
        if not isinstance(label, str):
            return label
        wanted, names = label_set(label), self.outputs.astype(str).tolist()
        new = sorted(wanted - set(names))
        if new:
            raise InputError(f"The label {new[0]!r} has no column among {', '.join(names)}; write .csv, .parquet or .json.")
        return [name in wanted for name in names]


def _alike(new: np.ndarray, held: np.ndarray) -> np.ndarray:
    """New labels in the type of those that are held, or in one that holds both."""
    if held.dtype.kind == "S":
        new = np.char.encode(new.astype(str), "utf-8")
    if held.dtype.kind == "f":
        return new.astype(held.dtype)
    same = new.astype(held.dtype)
    return same if (same == new).all() else new.astype(np.promote_types(held.dtype, new.dtype))
