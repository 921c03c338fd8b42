"""A part of the samples for a trial: each class, or each stretch of the numbers, gives the same share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from lapsi.data.composed import ChosenBlocks
from lapsi.data.dataset import Dataset
from lapsi.data.labels import make_targets
from lapsi.data.samples import Content, Samples
from lapsi.data.targets import ClassTargets, RealTargets, Targets

FEWEST = 2  # of a class that has as many: one to leave out and one to keep


@final
@dataclass(frozen=True, slots=True, eq=False)
class ChosenContent(Content):
    """Some samples of others.

    Attributes:
        whole: the others.
        chosen: (n,) their positions.
    """

    whole: Content
    chosen: np.ndarray

    @property
    def kind(self) -> str:  # type: ignore[override]
        """Of the others."""
        return self.whole.kind

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, position: int) -> str:
        return self.whole.name(int(self.chosen[position]))

    def read(self, position: int) -> bytes:
        return self.whole.read(int(self.chosen[position]))

    def require(self, position: int) -> None:
        self.whole.require(int(self.chosen[position]))

    @property
    def decode(self) -> Callable[[bytes], Any]:
        return self.whole.decode


def part_of(source: Dataset | Samples, n_rows: int, seed: int = 0) -> Dataset | Samples:
    """`n_rows` samples of a source, about: a few more where a class would have less than two; all where it has no more."""
    if isinstance(source, Dataset):
        rows = draw_rows(source.targets, n_rows, seed)
        return source if len(rows) == source.n_samples else _part_of_dataset(source, rows)
    targets = make_targets(source.labels, len(source.labels), source.task, source.weights)
    rows = draw_rows(targets, n_rows, seed)
    return source if len(rows) == len(source.labels) else _part_of_samples(source, rows)


def draw_rows(targets: Targets, n_rows: int, seed: int) -> np.ndarray:
    """Positions (n,), ascending: evenly over the samples in the order of their targets, and at random among equal ones."""
    n_samples = len(targets)
    if n_rows >= n_samples:
        return np.arange(n_samples)
    order = np.random.default_rng(seed).permutation(n_samples)
    if isinstance(targets, ClassTargets):
        order = order[np.argsort(targets.codes[order], kind="stable")]
    elif isinstance(targets, RealTargets):
        order = order[np.argsort(targets.given[order, 0], kind="stable")]
    taken = order[(np.arange(n_rows) * n_samples) // n_rows]
    if isinstance(targets, ClassTargets):
        places = np.searchsorted(targets.codes[order], np.arange(len(targets.classes)))
        ends = np.append(places[1:], n_samples)
        first = [order[place : min(place + FEWEST, end)] for place, end in zip(places, ends, strict=True)]
        few = np.bincount(targets.codes[taken], minlength=len(first)) < FEWEST
        taken = np.concatenate([taken, *(rows for rows, is_few in zip(first, few, strict=True) if is_few)])
    return np.unique(taken)


def _part_of_dataset(dataset: Dataset, rows: np.ndarray) -> Dataset:
    weights = None if dataset.weights is None else dataset.weights[rows]
    digest = dataset.features_hash and f"{dataset.features_hash}:{len(rows)} of {dataset.n_samples}"
    part = replace(
        dataset,
        targets=dataset.targets.take(rows),
        ids=dataset.ids[rows],
        columns=dataset.columns.iloc[rows].reset_index(drop=True),
        rows=dataset.rows[rows],
        weights=weights,
    )
    return part.with_features(ChosenBlocks(dataset.features, rows), digest)


def _part_of_samples(samples: Samples, rows: np.ndarray) -> Samples:
    return replace(
        samples,
        content=ChosenContent(samples.content, rows),
        labels=samples.labels[rows],
        ids=rows if samples.ids is None else samples.ids[rows],
        columns=samples.columns.iloc[rows].reset_index(drop=True),
        weights=None if samples.weights is None else samples.weights[rows],
        rows=rows,
        n_source=len(samples.labels),
    )
