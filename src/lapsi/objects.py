"""From a data set that is held in Python to scores: features by a frozen model where it has images or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.data.extractors.embedding import Door
from lapsi.data.objects import Known, open_object
from lapsi.data.opening import with_features
from lapsi.data.spec import DataSpec
from lapsi.data.tables.column import TABLE, in_words
from lapsi.errors import InputError
from lapsi.execution.backend import open_backend
from lapsi.execution.checkpoint import Keep
from lapsi.execution.progress import Stages
from lapsi.measures.choose import LSI
from lapsi.measuring import add_measures, required_measures
from lapsi.results.scores import Scores
from lapsi.scoring import check_indices, score_dataset
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.settings import make_settings

ARGUMENTS = Door("extractor=", "skip_bad=True")


def score_samples(
    samples: Any,
    labels: Any = None,
    *,
    extractor: str | ExtractorSettings | None = None,
    images: str | None = None,
    texts: str | None = None,
    split: str | None = None,
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    task: str = "auto",
    sample_weight: Any = None,
    cache: str | Path | None = None,
    skip_bad: bool = False,
    indices: Any = None,
    measures: Sequence[str] = (LSI,),
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **choices: Any,
) -> Scores:
    """Laplace Sample Information of every sample of a data set that is held in Python.

    Images and texts go through a frozen pretrained model, and its features are cached, as on the command line; rows of numbers
    go to the probe as they are, and the columns of a table as `lapsi.score` takes them.

    Args:
        samples: a `datasets.Dataset` (or a dictionary of such); a map-style `torch.utils.data.Dataset` or a loader of one,
            whose items are tuples of an image, text or vector and a label, or mappings with usual names; a frame of pandas,
            polars or Arrow; or a list of texts, paths of images, or images of Pillow.
        labels: (N,) as in `lapsi.score`, or the name of the column or field that holds them; None takes a usual name.
        extractor: the model by its name on the hub or as a local folder, or all `ExtractorSettings`; None: the paper's.
        images, texts: the column that holds them; None takes one of a usual name. A list of strings that all end as image
            files do and name files is one of paths, any other one of texts; any `images` or `texts` says which it is.
        split: the part to take, where there are several.
        ids, columns, task, sample_weight, measures, checkpoint, progress: as in `lapsi.score`.
        cache: folder of the feature cache; None: $LAPSI_CACHE, or lapsi in the user's folder for caches.
        skip_bad: leave samples out that cannot be read.
        indices: positions in `samples` of those to score (the others still train the model); default: all.
        choices: settings by their own names, as in `lapsi.score`, and model, objective, engine, curvature, execution.

    Returns:
        `Scores`, one row a scored sample; `row` is its position in `samples`.

    Raises:
        InputError: the data, the extractor or a setting cannot be used.
        MemoryLimitError, DiskFullError, ConvergenceError, BackendError: as `lapsi.score`.
    """
    settings, stages = make_settings(**choices), Stages(progress)
    known = Known(labels, ids, columns, sample_weight, task, split, images, texts)
    given = extractor if isinstance(extractor, ExtractorSettings) else ExtractorSettings(extractor)
    name = type(samples).__name__
    spec = DataSpec(name, extractor=given, cache=None if cache is None else str(cache), skip_bad=skip_bad)

    def tell(line: str) -> None:
        if line:
            stages.say(line)

    with open_backend(settings.execution) as backend:
        opened = with_features(open_object(samples, known), spec, name, stages, tell, backend, ARGUMENTS)
        if opened.content is None and extractor is not None:
            raise InputError(f"extractor was given, but a {name} of numbers or columns needs none; leave it out.")
        dataset = opened.dataset
        if TABLE in dataset.made_by:
            stages.say("\n".join(in_words(dataset.made_by[TABLE])))
        rows = _rows(indices, dataset.rows, dataset.n_source)
        required_measures(measures, dataset, settings)
        keep = None if checkpoint is None else Keep(Path(checkpoint), {})
        scores, _ = score_dataset(dataset, settings, rows, stages, keep, backend)
    scores = add_measures(scores, dataset, measures, stages)
    return replace(scores, provenance=replace(scores.provenance, **opened.record))


def _rows(indices: Any, kept: np.ndarray, n_source: int) -> np.ndarray:
    """Positions in the data set of samples that are counted in their source, without those that could not be read."""
    asked = check_indices(indices, n_source)
    rows = np.searchsorted(kept, asked[np.isin(asked, kept)])
    if len(rows) == 0:
        raise InputError("None of the samples that indices names could be read.")
    return rows
