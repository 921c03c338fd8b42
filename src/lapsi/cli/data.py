"""The data that a command works on, its terms told first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lapsi.cli.reopen import spec_of
from lapsi.cli.terminal import say
from lapsi.data.dataset import Dataset
from lapsi.data.opening import Opened, open_data, sketch_data
from lapsi.data.spec import DataSpec
from lapsi.data.tables.column import TABLE, in_words
from lapsi.errors import InputError
from lapsi.execution.backend import HERE, Backend
from lapsi.execution.progress import Stages
from lapsi.results.scores import Scores


def open_and_tell(spec: DataSpec, name: str, stages: Stages, backend: Backend = HERE) -> Opened:
    """`open_data`, what the source says told where stages are shown."""
    tell = _teller(stages)
    opened = open_data(spec, name, stages, tell, backend)
    tell(_trial(spec, opened.dataset))
    return opened


def sketch_and_tell(spec: DataSpec, name: str, stages: Stages) -> tuple[Dataset, dict[str, Any] | None]:
    """`sketch_data`, what the source says told where stages are shown."""
    tell = _teller(stages)
    dataset, embedding = sketch_data(spec, name, stages, tell)
    tell(_trial(spec, dataset))
    return dataset, embedding


def _teller(stages: Stages) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if line and stages.show:
            say(line, "dim", error=True)

    return tell


def _trial(spec: DataSpec, dataset: Dataset) -> str:
    """That only a part was drawn, where it was; else ""."""
    if spec.rows is None:
        return ""
    return f"A trial on {dataset.n_samples:,} of {dataset.n_source:,} samples, drawn by class."


def tell_table(dataset: Dataset, stages: Stages) -> None:
    """What became of the columns of a table, on standard error, where stages are shown."""
    if stages.show and TABLE in dataset.made_by:
        for line in in_words(dataset.made_by[TABLE]):
            say(line, error=True)


def reopen_features(scores: Scores, stages: Stages) -> Dataset:
    """The features of a run, made again as they were.

    Raises:
        InputError: as `reopen`, or when the data have changed since.
    """
    dataset = open_and_tell(spec_of(scores), scores.provenance.source, stages).dataset
    if not dataset.has_digest(scores.provenance.data_hash):
        raise InputError(f"The data of {scores.provenance.source} have changed since the run; score them again.")
    return dataset
