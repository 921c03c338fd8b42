"""Other measures beside LSI, of the samples of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd

from lapsi.data.dataset import Dataset
from lapsi.data.standardize import standardizer_of
from lapsi.data.tables.dataset import labelled
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.measures.base import Labelled, Measure
from lapsi.measures.choose import MEASURES, chosen_measures
from lapsi.problem.of_dataset import network_problem, weighed
from lapsi.results.scores import Scores
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings
from lapsi.settings.task import CLASSES


def measure(
    scores: Scores, X: Any, y: Any, add: str | Sequence[str] | None = None, *, ids: Any = None, progress: bool = True
) -> Scores:
    """Scores with other measures beside LSI, in columns of their own.

    Args:
        scores: of samples of classes, by a probe on features.
        X, y: all data that they were made from, as in `lapsi.score`.
        add: which: `"el2n"`, `"grand"`, `"forgetting"`, `"psmi"`, `"sui"`, `"trak"`; default: all that the
            probe has.
        ids: (N,) identifiers, where `lapsi.score` was given some.
        progress: draw progress bars on standard error.

    Raises:
        InputError: the data are others, or a measure is not of such a run.
    """
    _settings_of(scores)
    names = [add] if isinstance(add, str) else add
    return add_measures(scores, labelled(X, y, task=scores.task, ids=ids), names, Stages(progress))


def add_measures(scores: Scores, dataset: Dataset, names: Sequence[str] | None, stages: Stages) -> Scores:
    """Scores with measures of some names, of the data set that they were made from; None: all that the probe has.

    Raises:
        InputError: as `measure`.
    """
    settings = _settings_of(scores)
    chosen = required_measures(_fitting(settings) if names is None else names, dataset, settings)
    if not chosen:
        return scores
    there = [column.name for each in chosen for column in each.columns if column.name in scores.table]
    if there:
        raise InputError(f"The run has the column {there[0]!r} already; leave its measure out.")
    if not dataset.has_digest(scores.provenance.data_hash):
        raise InputError("The data are not those of the run; expected features, labels and ids as they were scored.")
    standardizer = standardizer_of(dataset.survey, settings.model.standardize)
    data = Labelled(network_problem(dataset, standardizer, settings), settings.execution.seed)
    for each in chosen:
        with stages.stage(each.name, each.n_steps(data)) as advance:
            found = each.compute(data, advance)
        table = pd.DataFrame({"id": dataset.ids, **found})
        table = table[table["id"].isin(scores.table["id"])]
        origin = {
            "version": version("lapsi"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": settings.execution.seed,
            "data_hash": scores.provenance.data_hash,
            "seconds": {each.name: stages.seconds[each.name]},
        }
        scores = scores.with_measure(table, each.columns, origin={each.name: origin})
    return scores


def required_measures(names: Sequence[str], dataset: Dataset, settings: Settings) -> list[Measure]:
    """The measures of some names, each once.

    Raises:
        InputError: when a name is not known, or a measure is not of such data or such a probe.
    """
    chosen = chosen_measures(names)
    if chosen and dataset.targets.task != CLASSES:
        raise InputError(f"The targets are those of task {dataset.targets.task!r}; other measures than LSI are of classes.")
    if chosen and weighed(dataset, settings).weights is not None:
        raise InputError("The samples have weights, which other measures than LSI do not know.")
    for each in chosen:
        if each.needs_linear and settings.model.hidden:
            raise InputError(f"The probe has hidden layers, but {each.name} is of the linear probe; leave it out.")
    return chosen


def _settings_of(scores: Scores) -> Settings:
    settings = stored_settings(scores.provenance.settings)
    if not isinstance(settings, Settings):
        raise InputError("The run is of no probe on features; other measures than LSI are of a probe on features.")
    return settings


def _fitting(settings: Settings) -> list[str]:
    return [name for name, each in MEASURES.items() if not (each.needs_linear and settings.model.hidden)]
