"""The evidence on each kind of targets."""

from __future__ import annotations

from typing import Any

from lapsi.results.evidence.base import Evidence
from lapsi.results.evidence.classes import ClassEvidence
from lapsi.results.evidence.labels import LabelsEvidence
from lapsi.results.evidence.numbers import NumbersEvidence
from lapsi.results.evidence.pairs import PairEvidence
from lapsi.results.evidence.tokens import TokenEvidence

ALL = (ClassEvidence(), LabelsEvidence(), NumbersEvidence(), TokenEvidence(), PairEvidence())
EVIDENCE: dict[str, Evidence[Any]] = {each.task: each for each in ALL}


def evidence_of(task: str) -> Evidence[Any]:
    """That on the targets of a task.

    Raises:
        ValueError: for a task that this version does not know.
    """
    if task not in EVIDENCE:
        raise ValueError(f"the task is {task!r}; expected one of {', '.join(EVIDENCE)}")
    return EVIDENCE[task]
