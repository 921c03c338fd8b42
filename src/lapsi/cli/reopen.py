"""The data of a run, opened again as they were, without features made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.blocks import Blocks
from lapsi.data.composed import ChosenBlocks
from lapsi.data.dataset import Dataset
from lapsi.data.labels import make_targets
from lapsi.data.readers.source import open_spec
from lapsi.data.samples import Content, Samples
from lapsi.data.spec import DataSpec, read_spec
from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.task import PAIRS


def reopen(scores: Scores) -> Dataset | Samples:
    """The source of a run, opened again, without features made anew.

    Raises:
        InputError: when the run was not made by the command line, or its source is gone.
    """
    return open_spec(spec_of(scores))


def spec_of(scores: Scores) -> DataSpec:
    """What opened the data of a run.

    Raises:
        InputError: when the run was not made by the command line, or from a network.
    """
    if scores.provenance.factory:
        raise InputError("The run is of a network, whose data have no features; this is for data with features.")
    if scores.task == PAIRS:
        raise InputError("The run is of pairs; this is for data with features and labels.")
    return read_spec(data_of(scores))


def data_of(scores: Scores) -> dict[str, Any]:
    """What a run keeps of what opened its data.

    Raises:
        InputError: when it was not made by the command line.
    """
    if not scores.provenance.data:
        raise InputError("The run was saved from Python, so the command line does not know its data; do this from Python too.")
    return scores.provenance.data


def rows_of(scores: Scores, ids: np.ndarray) -> np.ndarray:
    """Where each scored sample (n,) stands among the ids (N,) of its source.

    Raises:
        InputError: when one is not there.
    """
    positions = pd.Index(ids).get_indexer(pd.Index(scores.table["id"]))
    if (positions < 0).any():
        raise InputError(f"{int((positions < 0).sum())} samples of the run are no longer in {scores.provenance.source}.")
    return positions


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """What the scored samples were, row by row of the scores; None where the source holds no such thing.

    Attributes:
        content, positions: the images or texts, and the position (n,) of each row in them.
        features: (n, d), where they lie.
    """

    content: Content | None = None
    positions: np.ndarray | None = None
    features: Blocks | None = None


def reopen_raw(scores: Scores) -> Raw:
    """The raw samples of a run, found by their ids.

    Raises:
        InputError: as `reopen`, or when the data have changed since.
    """
    if scores.provenance.factory:
        return _raw_of_factory(scores)
    source = reopen(scores)
    n_source = source.n_samples if isinstance(source, Dataset) else len(source.labels)
    ids = np.arange(n_source) if source.ids is None else source.ids
    positions = rows_of(scores, ids)
    if isinstance(source, Dataset):
        targets = source.targets
    else:
        targets = make_targets(source.labels, n_source, source.task, source.weights)
    before = scores.table["original_label" if "original_label" in scores.table else "label"]
    same = targets.shown[positions].astype(str) == before.astype(str).to_numpy()
    unchanged = (
        not isinstance(source, Dataset) or scores.provenance.corruption or source.has_digest(scores.provenance.data_hash)
    )
    if not same.all() or not unchanged:
        raise changed(scores)
    if isinstance(source, Dataset):
        return Raw(features=ChosenBlocks(source.features, positions))
    return Raw(content=source.content, positions=positions)


def _raw_of_factory(scores: Scores) -> Raw:
    """The images or texts of the data that a network was scored on."""
    from lapsi.cli.score_network import data_of, made_by
    from lapsi.data.items import content_of

    dataset = data_of(made_by(scores.provenance.factory))
    if len(dataset) != scores.provenance.n_samples:
        raise InputError(
            f"{scores.provenance.factory} now gives {len(dataset):,} samples, but {scores.provenance.n_samples:,} when they "
            "were scored; score them again."
        )
    return Raw(content_of(dataset), scores.table["row"].to_numpy())


def changed(scores: Scores) -> InputError:
    """What is told of a run whose data are others now."""
    return InputError(f"The data of {scores.provenance.source} have changed since the run; score them again.")
