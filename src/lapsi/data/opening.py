"""From what names the data to labelled features: opened, embedded and changed on purpose as it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.blocks import ArrayBlocks
from lapsi.data.composed import ChosenBlocks
from lapsi.data.corruption import corrupt_dataset, corrupt_samples
from lapsi.data.dataset import Dataset
from lapsi.data.extractors.embedding import COMMAND, Door, embed_content, trial
from lapsi.data.part import ChosenContent
from lapsi.data.readers.columns import listed
from lapsi.data.readers.labels import changes_of
from lapsi.data.readers.shard_names import shards_of
from lapsi.data.readers.source import open_spec
from lapsi.data.samples import Content, Samples
from lapsi.data.spec import DataSpec
from lapsi.data.targets import ClassTargets, Targets
from lapsi.execution.backend import HERE, Backend
from lapsi.execution.progress import Stages


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


def open_data(spec: DataSpec, name: str, stages: Stages, tell: Callable[[str], None], backend: Backend = HERE) -> Opened:
    """What was asked for; the source is called `name`, as it was given.

    `tell` is told where the samples were found, where that needs a word, and the terms of the source, where it has some, before
    the work; `backend` makes the features.

    Raises:
        InputError: as the readers and the extractor say.
    """
    opened = with_features(open_spec(spec), spec, name, stages, tell, backend)
    data = replace(spec, shards=tuple(map(str, shards_of(spec.source) or ()))).to_record()
    return replace(opened, record={"data": data} | opened.record)


def with_features(
    source: Dataset | Samples,
    spec: DataSpec,
    name: str,
    stages: Stages,
    tell: Callable[[str], None],
    backend: Backend = HERE,
    door: Door = COMMAND,
) -> Opened:
    """A source that is open, as `open_data` gives it; its record does not say what opened it.

    `door`: what errors call the options or arguments of the caller.

    Raises:
        InputError: as the extractor says.
    """
    corruption = changes_of(spec)
    record: dict[str, Any] = {}
    tell(source.said)
    if isinstance(source, Dataset):
        left_out, content, dataset = [], None, source
        tell(_terms(source.made_by.get("licence", "")))
        record |= source.made_by
    else:
        tell(_terms(source.licence))
        samples = corrupt_samples(source, corruption)
        everything = np.arange(len(samples.labels))
        # refuses before the work
        whole = corrupt_dataset(samples.with_features(np.zeros((len(everything), 1)), everything), corruption)
        cache = None if spec.cache is None else Path(spec.cache)
        embedded = embed_content(
            samples.content, spec.extractor, cache, stages, skip_bad=spec.skip_bad, backend=backend, door=door
        )
        content = samples.content.whole if isinstance(samples.content, ChosenContent) else samples.content
        left_out = [*samples.unread, *((content.name(position), reason) for position, reason in embedded.left_out.items())]
        tell(_vanished(whole.targets, embedded.kept))
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


def _vanished(targets: Targets, kept: np.ndarray) -> str:
    """Which classes have no sample among those at positions `kept` (n,), or ""."""
    if not isinstance(targets, ClassTargets):
        return ""
    gone = np.setdiff1d(np.unique(targets.codes), targets.codes[kept])
    if len(gone) == 0:
        return ""
    names = listed([str(targets.classes[code]) for code in gone])
    return f"No sample of {len(gone):,} of the {len(targets.classes):,} classes could be read, so they are gone: {names}."


def _terms(licence: str) -> str:
    return f"Terms: {licence}" if licence else ""


def sketch_data(
    spec: DataSpec, name: str, stages: Stages, tell: Callable[[str], None]
) -> tuple[Dataset, dict[str, Any] | None]:
    """A data set of the shape that the run will have, and what making its features will take (None where they are given).

    The features of images and texts are those of a few samples, repeated; `tell` is told what `open_data` tells.
    """
    source = open_spec(spec)
    changes_of(spec)  # refuses what the run would refuse
    tell(source.said)
    tell(_terms(source.made_by.get("licence", "") if isinstance(source, Dataset) else source.licence))
    if isinstance(source, Dataset):
        return replace(source, source=name), None
    with stages.stage("try extractor"):
        features, seconds, model = trial(source.content, spec.extractor)
    n = len(source.labels)
    repeated = ChosenBlocks(ArrayBlocks(features), np.arange(n) % len(features))
    embedding = {"model": model, "samples_per_second": 1 / seconds, "seconds": seconds * n}
    return replace(source.with_features(repeated, np.arange(n)), source=name), embedding
