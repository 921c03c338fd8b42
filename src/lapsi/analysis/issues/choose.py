"""The likely errors of targets of each kind."""

from __future__ import annotations

from lapsi.analysis.issues.base import Issues
from lapsi.analysis.issues.classes import ClassIssues
from lapsi.analysis.issues.labels import LabelIssuesOfSets
from lapsi.analysis.issues.numbers import NumberIssues
from lapsi.results.scores import Scores

ISSUES: dict[str, Issues] = {each.task: each for each in (ClassIssues(), LabelIssuesOfSets(), NumberIssues())}


def issues_of(scores: Scores) -> Issues:
    """Those of the targets of a run."""
    return ISSUES[scores.task]
