"""The likely errors of targets of each kind."""

from __future__ import annotations

from lapsi.analysis.issues.base import Issues
from lapsi.analysis.issues.classes import ClassIssues
from lapsi.analysis.issues.labels import LabelIssuesOfSets
from lapsi.analysis.issues.numbers import NumberIssues
from lapsi.analysis.issues.pairs import PairIssues
from lapsi.errors import InputError
from lapsi.results.scores import Scores

ISSUES: dict[str, Issues] = {each.task: each for each in (ClassIssues(), LabelIssuesOfSets(), NumberIssues(), PairIssues())}


def issues_of(scores: Scores) -> Issues:
    """Those of the targets of a run.

    Raises:
        InputError: where the targets are the tokens of texts, of which none is doubted alone.
    """
    if scores.task not in ISSUES:
        raise InputError("The samples of the run are texts, whose tokens are not doubted one by one; see those of high LSI.")
    return ISSUES[scores.task]
