"""Pairs of features that belong together, validated once: images and their texts, or any two views of the same things."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.arrays import feature_matrix
from lapsi.data.blocks import ArrayBlocks, Blocks, Survey, survey
from lapsi.data.dataset import DIGEST, make_columns, make_ids
from lapsi.data.samples import TEXT
from lapsi.data.standardize import standardizer_of
from lapsi.errors import InputError

FEWEST = 3  # one to leave, and two of which each is the negative of the other
SIDES = ("first", "second")
SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """N pairs; build them with `make_pairs`.

    Attributes:
        first, second: features (N, d) of both sides, as given.
        surveys: what one pass over each told.
        ids: (N,) one identifier a pair, unique.
        columns: (N rows) what else is known of the pairs and travels along to the scores.
        source: where they came from, for the record.
        record: fields of the provenance: extractors, corruption, licence, what opened the data.
        rows: (N,) position of each in its source, ascending; None: all of it.
        n_source: pairs of the source; None: N.
        left_out: name and reason of each pair, or side of one, that could not be read.
    """

    first: Blocks
    second: Blocks
    surveys: tuple[Survey, Survey]
    ids: np.ndarray
    columns: pd.DataFrame
    source: str
    record: dict[str, Any] = field(default_factory=dict)
    rows: np.ndarray | None = None
    n_source: int | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.first)

    @property
    def widths(self) -> tuple[int, int]:
        """Features of both sides."""
        return self.first.shape[1], self.second.shape[1]

    def inputs(self, standardize: str) -> tuple[np.ndarray, np.ndarray]:
        """Both sides (N, d + 1) float64 with a constant 1, scaled as asked for (`standardizer_of`)."""
        first, second = (
            standardizer_of(seen, standardize).all_inputs(features)
            for seen, features in zip(self.surveys, (self.first, self.second), strict=True)
        )
        return first, second

    @property
    def caution(self) -> str:
        """That a side is always the same, so that scores mean little; or ""."""
        same = [which for seen, which in zip(self.surveys, SIDES, strict=True) if not seen.variance.any()]
        return f"All {len(self):,} rows of the {same[0]} side are the same, so nothing tells the pairs apart." if same else ""

    def digest(self) -> str:
        """Hash of both sides and the ids: equal for equal pairs."""
        header = [self.first.shape, self.second.shape, *(seen.digest for seen in self.surveys), list(map(str, self.ids))]
        return DIGEST + hashlib.blake2b(json.dumps(header).encode(), digest_size=16).hexdigest()


def make_pairs(
    first: Any,
    second: Any,
    *,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    source: str = "arrays",
) -> Pairs:
    """Validated pairs.

    Args:
        first, second: (N, d) numbers of both sides: numpy arrays, torch tensors, pandas frames, lists, or `Blocks`. Row i of
            one belongs to row i of the other.
        ids: (N,) unique identifiers; None numbers the pairs.
        columns: what else is known of the pairs, (N,) each by name; `path` and `text` are the picture and its caption.
        source: where the data came from.

    Raises:
        InputError: for anything that cannot be scored, saying what was got and what to do.
    """
    sides: list[Blocks] = []
    for given, which in zip((first, second), SIDES, strict=True):
        with _on_side(which):
            sides.append(given if isinstance(given, Blocks) else ArrayBlocks(feature_matrix(given)))
    n, n_second = map(len, sides)
    if n != n_second:
        raise InputError(f"There are {n:,} rows on one side and {n_second:,} on the other; expected one of each a pair.")
    if n < FEWEST:
        raise InputError(f"There are {n} pairs; expected at least {FEWEST}, one to leave out and two to tell apart.")
    known = make_columns(columns, n)
    surveys: list[Survey] = []
    for side, which in zip(sides, SIDES, strict=True):
        with _on_side(which):
            surveys.append(survey(side, None))
    return Pairs(sides[0], sides[1], (surveys[0], surveys[1]), make_ids(ids, n), known, source)


@contextmanager
def _on_side(which: str) -> Iterator[None]:
    """Says of what is refused within on which side it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"On the {which} side: {error}") from error


def shuffle_pairs(pairs: Pairs, share: float, seed: int) -> Pairs:
    """The same with the second sides of a share of the pairs moved on by one among them, so that none keeps its own.

    Columns `corrupted` and `corruption` mark them; a `text` goes with its features, that of before under `original_text`.
    """
    n = len(pairs)
    count = round(share * n)
    if count < 2:
        raise InputError(f"A share of {share:g} of {n:,} pairs is {count}; expected at least 2 pairs, which change places.")
    chosen = np.random.default_rng(seed).permutation(n)[:count]
    source = np.arange(n)
    source[chosen] = np.roll(chosen, 1)
    moved = ArrayBlocks(np.asarray(pairs.second.read(source)))
    corrupted = np.isin(np.arange(n), chosen)
    marks = {"corrupted": corrupted, "corruption": np.where(corrupted, SHUFFLED, "").astype(object)}
    columns = pairs.columns
    if TEXT in columns:
        columns = columns.assign(original_text=columns[TEXT], text=columns[TEXT].to_numpy()[source])
    record = pairs.record | {"corruption": {"shuffle_pairs": share, "corruption_seed": seed, "n_corrupted": count}}
    return replace(
        pairs,
        second=moved,
        surveys=(pairs.surveys[0], survey(moved, None)),
        columns=columns.assign(**marks),
        record=record,
    )
