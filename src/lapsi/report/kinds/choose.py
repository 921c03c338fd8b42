"""The view of targets of each kind."""

from __future__ import annotations

from lapsi.report.kinds.base import View
from lapsi.report.kinds.classes import ClassView
from lapsi.report.kinds.labels import LabelsView
from lapsi.report.kinds.numbers import NumbersView
from lapsi.report.kinds.pairs import PairsView
from lapsi.report.kinds.tokens import TokensView
from lapsi.results.scores import Scores

VIEWS: dict[str, View] = {each.task: each for each in (ClassView(), LabelsView(), NumbersView(), TokensView(), PairsView())}


def view_of(scores: Scores) -> View:
    """That of the targets of a run."""
    return VIEWS[scores.task]
