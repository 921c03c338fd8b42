"""The curator's other questions, asked of a run: duplicates, leaks, outliers, groups, gaps, order, and what tells the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from lapsi.analysis.checks.base import CHECK, Answer, Check, Given
from lapsi.analysis.checks.choose import CHECKS
from lapsi.analysis.checks.datalab import LeftOut, of_features, require_datalab
from lapsi.analysis.checks.scaled import scaled
from lapsi.analysis.checks.told import Finding, Record, record_of
from lapsi.data.dataset import Dataset
from lapsi.data.tables.column import TABLE
from lapsi.data.tables.dataset import features_alone, labelled
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.results.columns import Column
from lapsi.results.scores import Scores

NOT_GIVEN = "the features were not given"


def check(
    scores: Scores,
    X: Any = None,
    y: Any = None,
    *,
    sample_weight: Any = None,
    ids: Any = None,
    progress: bool = True,
) -> Scores:
    """Scores with what else a curator asks of a data set, in columns of their own; `lapsi.findings` tells what was found.

    Near and exact duplicates, those that cross `split` or `group`, outliers, features and groups that give the label away,
    classes that are confused, groups for which the model fails, a rare class, gaps, and an order that tells something.
    Near duplicates, outliers, order, rare class, weak groups and gaps are those of cleanlab's Datalab. What an earlier check
    found is replaced, where it is asked again.

    Args:
        scores: of the samples.
        X: all data that they were made from, as in `lapsi.score`; None: only what needs no features is asked, or of a network
            all by the features that the scores hold.
        y: their labels, or the name of a column of a frame; where given, the data are required to be those of the run.
        sample_weight, ids: as `lapsi.score` was given them; they belong to `y`.
        progress: draw progress bars on standard error.

    Raises:
        InputError: the extra `check` is not installed, the data are others, or no question can be asked.
    """
    require_datalab()
    if X is None:
        return add_checks(scores, scores.features, False, NOT_GIVEN if scores.features is None else "", Stages(progress))
    if y is not None:
        dataset = labelled(X, y, task=scores.task, weights=sample_weight, ids=ids)
        if not dataset.has_digest(scores.provenance.data_hash):
            raise InputError("The data are not those of the run; expected features, labels and ids as they were scored.")
        return add_checks(scores, *features_of(scores, dataset), "", Stages(progress))
    features, is_table = features_alone(X)
    n, d = scores.provenance.n_samples, scores.provenance.n_features
    if features.shape != (n, d):
        raise InputError(
            f"X makes features of shape {features.shape}, but the run is of {n} samples with {d} features; expected all data "
            "that were scored (of a frame with its labels, name these: y)."
        )
    return add_checks(scores, features[_rows(scores, n)], is_table, "", Stages(progress))


def features_of(scores: Scores, dataset: Dataset) -> tuple[np.ndarray, bool]:
    """The features (n, d) of the scored samples among those of a data set, and whether they are those of a table.

    Raises:
        InputError: when a sample is not there.
    """
    positions = pd.Index(dataset.ids).get_indexer(pd.Index(scores.table["id"]))
    if (positions < 0).any():
        raise InputError(f"{int((positions < 0).sum())} samples of the run are not in the data; expected those of the run.")
    return dataset.features.read(positions), TABLE in dataset.made_by


def add_checks(scores: Scores, features: np.ndarray | None, is_table: bool, reason: str, stages: Stages) -> Scores:
    """The same of features (n, d) of the scored samples, in their order; `reason`: why there are none.

    Raises:
        InputError: as `check`.
    """
    require_datalab()
    neighbours = None
    if features is not None:
        with stages.stage("neighbours"):
            neighbours = of_features(scaled(features, is_table), "euclidean" if is_table else None)
    answers, left_out = _asked(Given(scores, features, is_table, reason, neighbours), stages)
    if not answers:
        told = "; ".join(sorted(set(left_out.values())))
        raise InputError(f"No question can be asked of this run ({told}); nothing was written.")
    values = {name: column for answer in answers.values() for name, column in answer.values.items()}
    columns = [column for each in answers for column in each.columns]
    earlier = record_of(scores)
    findings = {each.check: each for each in earlier.findings} if earlier else {}
    findings |= {each.title: _finding(each, answer) for each, answer in answers.items()}
    record = Record(
        [findings[each.title] for each in CHECKS if each.title in findings],
        {title: why for title, why in left_out.items() if title not in findings},
    )
    origin = {
        "version": version("lapsi"),
        "cleanlab": version("cleanlab"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_hash": scores.provenance.data_hash,
        "seconds": {name: stages.seconds[name] for name in ("neighbours", CHECK) if name in stages.seconds},
        **asdict(record),
    }
    table = pd.DataFrame({"id": scores.table["id"], **values})
    return _without(scores, columns).with_measure(table, columns, origin={CHECK: origin})


def _asked(given: Given, stages: Stages) -> tuple[dict[Check, Answer], dict[str, str]]:
    """The answers, and by its title why a check could not be made."""
    answers: dict[Check, Answer] = {}
    left_out: dict[str, str] = {}
    with stages.stage(CHECK, len(CHECKS)) as advance:
        for each in CHECKS:
            try:
                why = each.lacks(given)
                if why:
                    raise LeftOut(why)
                answers[each] = each.answer(given)
            except LeftOut as error:
                left_out[each.title] = str(error)
            advance(1)
    return answers, left_out


def _finding(check: Check, answer: Answer) -> Finding:
    names = [column.name for column in check.columns]
    return Finding(check.title, check.question, answer.found, answer.said, list(answer.examples), names)


def _without(scores: Scores, columns: Sequence[Column]) -> Scores:
    """The same without columns that an earlier check left."""
    own = {column.name for column in scores.columns if column.measure == CHECK}
    old = own & {column.name for column in columns}
    described = tuple(column for column in scores.described if column.name not in old)
    return replace(scores, table=scores.table.drop(columns=sorted(old)), described=described)


def _rows(scores: Scores, n: int) -> np.ndarray:
    """Where the scored samples stand among n that were given."""
    if scores.provenance.n_source not in (None, n):
        raise InputError("Some samples of the source could not be read, so rows of X cannot be told apart without y; give it.")
    return scores.table["row"].to_numpy()
