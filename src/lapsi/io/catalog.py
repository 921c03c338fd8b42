"""The data sets of the paper, by name."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_digits

from lapsi.dataset import Dataset, make_dataset
from lapsi.io.columns import Columns
from lapsi.samples import Samples

NAMED = ("digits",)


def read_named(name: str, columns: Columns, split: str | None, data_dir: Path | None) -> Dataset | Samples:
    """A named data set."""
    digits = load_digits()
    return make_dataset(digits.data, digits.target, source=name)
