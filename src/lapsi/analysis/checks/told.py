"""What checks found in a run, as it is kept with it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from lapsi.analysis.checks.base import CHECK, is_about
from lapsi.errors import InputError
from lapsi.results.scores import Scores


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its title.
        question: that it asks.
        found: how many samples (or features) it is about.
        said: the same in words; "" where nothing was found.
        examples: the worst, a few words each.
        columns: that it wrote; the first names the samples.
    """

    check: str
    question: str
    found: int
    said: str
    examples: list[str]
    columns: list[str]


@dataclass(frozen=True, slots=True)
class Record:
    """What a run keeps of its checks."""

    findings: list[Finding]
    left_out: dict[str, str]


@cache
def _schema() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def record_of(scores: Scores) -> Record | None:
    """What a run keeps of its checks; None where it was not checked.

    Raises:
        InputError: when that is damaged.
    """
    held: Any = scores.provenance.measures.get(CHECK)
    try:
        return None if held is None else _schema().validate_python(held)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"What checks found in the run is damaged ({where} of run.json); check it again.") from None


def findings(scores: Scores) -> pd.DataFrame:
    """What `lapsi.check` or `lapsi check` found in a run; no rows where it was not checked.

    Columns: `check`, its `question`, how many samples (or features) are `found`, the same in words (`said`), the worst
    `examples` (a list of texts), and the names of its `columns`, of which the first names the samples.

    Raises:
        InputError: when the record of them is damaged.
    """
    record, names = record_of(scores), [field.name for field in fields(Finding)]
    return pd.DataFrame(
        [[getattr(each, name) for name in names] for each in (record.findings if record else [])], columns=names
    )


def found(scores: Scores) -> dict[str, np.ndarray]:
    """(n,) bool by the title of a check: the samples that it is about; checks that are about none are left out."""
    record, table = record_of(scores), scores.table
    named = {each.check: each.columns[0] for each in record.findings if each.columns} if record else {}
    masks = {title: is_about(table[name]) for title, name in named.items() if name in table}
    return {title: mask for title, mask in masks.items() if mask.any()}


def in_a_line(scores: Scores) -> str:
    """What checks found, e.g. "outliers: 20 samples; none: rare class"; "" where the run was not checked."""
    record = record_of(scores)
    if record is None:
        return ""
    told = [f"{each.check}: {each.said}" for each in record.findings if each.found]
    clean = [each.check for each in record.findings if not each.found]
    return "; ".join([*told, *([f"none: {', '.join(clean)}"] if clean else [])])
