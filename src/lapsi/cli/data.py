"""From what names the data to labelled features: opened, embedded and changed on purpose as it asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from lapsi.data.corruption import corrupt_dataset, corrupt_samples
from lapsi.data.dataset import Dataset
from lapsi.data.extractors.base import ExtractorSettings
from lapsi.data.extractors.embedding import embed_content, trial
from lapsi.data.readers.source import open_source
from lapsi.data.samples import Content, Samples
from lapsi.data.spec import DataSpec, read_spec
from lapsi.data.targets import to_classes
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.results.scores import Scores


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Labelled features, and what they were made of.

    Attributes:
        dataset: the features.
        content: the images or texts, where the source holds such; sample i of the data set is that at `dataset.rows[i]`.
        left_out: sample and reason of each that could not be read; folders of which no more is known come first.
        record: what the provenance says of it.
    """

    dataset: Dataset
    content: Content | None
    left_out: pd.DataFrame
    record: dict[str, Any]


def open_data(spec: DataSpec, name: str, stages: Stages) -> Opened:
    """What was asked for; the source is called `name`, as it was given.

    Raises:
        InputError: as the readers and the extractor say.
    """
    source = _open(spec)
    corruption = spec.changes()
    record: dict[str, Any] = {"data": spec.to_record()}
    if isinstance(source, Dataset):
        _refuse_extractor(spec.extractor)
        left_out, content, dataset = [], None, source
        _tell_licence(source.made_by.get("licence", ""), stages)
        record |= source.made_by
    else:
        _tell_licence(source.licence, stages)
        samples = corrupt_samples(source, corruption)
        everything = np.arange(len(samples.labels))
        # refuses before the work
        corrupt_dataset(samples.with_features(np.zeros((len(everything), 1)), everything), corruption)
        cache = None if spec.cache is None else Path(spec.cache)
        embedded = embed_content(samples.content, spec.extractor, cache, stages, skip_bad=spec.skip_bad)
        content = samples.content
        left_out = [*samples.unread, *((content.name(position), reason) for position, reason in embedded.left_out.items())]
        dataset = samples.with_features(embedded.features, embedded.kept, embedded.digest)
        if corruption.human_labels is not None and len(corruption.human_labels) == len(samples.labels):
            corruption = replace(corruption, human_labels=corruption.human_labels[embedded.kept])
        record |= {"extractor": embedded.record, "licence": samples.licence}
    dataset = replace(corrupt_dataset(dataset, corruption), source=name)
    changed = corruption.record()
    if changed:
        changed["n_corrupted"] = int(dataset.columns["corrupted"].sum())
    bad = pd.DataFrame(left_out, columns=["sample", "reason"])
    return Opened(dataset, content, bad, record | {"corruption": changed})


def _refuse_extractor(settings: ExtractorSettings) -> None:
    for name in ("model", "pooling", "normalize", "max_tokens"):
        if getattr(settings, name) != getattr(ExtractorSettings(), name):
            raise InputError(
                f"--{name.replace('_', '-')} does not apply: the source holds features, which go to the probe as they are; "
                "leave it out."
            )


def reopen(scores: Scores) -> Dataset | Samples:
    """The source of a run, opened again, without features made anew.

    Raises:
        InputError: when the run was not made by the command line, or its source is gone.
    """
    return _open(_spec_of(scores))


def _spec_of(scores: Scores) -> DataSpec:
    if not scores.provenance.data:
        raise InputError("The run was saved from Python, so the command line does not know its data; do this from Python too.")
    return read_spec(scores.provenance.data)


def reopen_features(scores: Scores, stages: Stages) -> Dataset:
    """The features of a run, made again as they were.

    Raises:
        InputError: as `reopen`, or when the data have changed since.
    """
    dataset = open_data(_spec_of(scores), scores.provenance.source, stages).dataset
    if not dataset.has_digest(scores.provenance.data_hash):
        raise InputError(f"The data of {scores.provenance.source} have changed since the run; score them again.")
    return dataset


def sketch_data(spec: DataSpec, name: str, stages: Stages) -> tuple[Dataset, dict[str, Any] | None]:
    """A data set of the shape that the run will have, and what making its features will take (None where they are given).

    The features of images and texts are those of a few samples, repeated.
    """
    source = _open(spec)
    spec.changes()  # refuses what the run would refuse
    if isinstance(source, Dataset):
        _refuse_extractor(spec.extractor)
        return replace(source, source=name), None
    with stages.stage("try extractor"):
        features, seconds, model = trial(source.content, spec.extractor)
    n = len(source.labels)
    repeated = np.resize(features, (n, features.shape[1]))
    embedding = {"model": model, "samples_per_second": 1 / seconds, "seconds": seconds * n}
    return replace(source.with_features(repeated, np.arange(n)), source=name), embedding


def _open(spec: DataSpec) -> Dataset | Samples:
    data_dir = None if spec.data_dir is None else Path(spec.data_dir)
    return open_source(spec.source, spec.columns, spec.split, data_dir, skip_bad=spec.skip_bad)


def _tell_licence(licence: str, stages: Stages) -> None:
    if licence and stages.show:
        Console(stderr=True, soft_wrap=True).print(f"Terms: {licence}", style="dim", markup=False, highlight=False)


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
        features: (n, d).
    """

    content: Content | None = None
    positions: np.ndarray | None = None
    features: np.ndarray | None = None


def reopen_raw(scores: Scores) -> Raw:
    """The raw samples of a run, found by their ids.

    Raises:
        InputError: as `reopen`, or when the data have changed since.
    """
    source = reopen(scores)
    ids = np.arange(len(source.labels)) if source.ids is None else source.ids
    positions = rows_of(scores, ids)
    classes, codes = (source.classes, source.labels) if isinstance(source, Dataset) else to_classes(source.labels)
    before = scores.table["original_label" if "original_label" in scores.table else "label"]
    same = classes[codes[positions]].astype(str) == before.astype(str).to_numpy()
    unchanged = (
        not isinstance(source, Dataset) or scores.provenance.corruption or source.has_digest(scores.provenance.data_hash)
    )
    if not same.all() or not unchanged:
        raise InputError(f"The data of {scores.provenance.source} have changed since the run; score them again.")
    if isinstance(source, Dataset):
        return Raw(features=source.features.read(positions))
    return Raw(content=source.content, positions=positions)
