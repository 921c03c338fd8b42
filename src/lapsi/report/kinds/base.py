"""What the page needs to know of targets of one kind. What its programs say and draw of them is in `assets/targets-….js`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lapsi.report.quadrants import Quadrants
from lapsi.results.columns import Column
from lapsi.results.scores import Scores


@dataclass(frozen=True, slots=True)
class Phrases:
    """Words of the page, each a part of one of its sentences.

    Attributes:
        high: what a sample of high LSI may be.
        wrong: what high LSI is not the same as.
        evidence: what the evidence is on, `quality`: its name, `quality_is`: its meaning.
        doubtful: where that evidence deserves a look.
        one, many: a target as given, of one sample and of several.
        part, parts: what the chart goes by.
        chart: what its rows are.
        scatter, scatter_lead: of the cloud of LSI.
        colour: what the map can be coloured by beside LSI.
        filter: what the first field filters by.
        relabel: what the second decision is called; "" where no target can be changed.
        least: the samples of the third gallery.
        exactness: how exact the scores are.
        map, map_lead: what the map is of, and what lies near each other there.
    """

    high: str
    wrong: str
    evidence: str
    quality: str
    quality_is: str
    doubtful: str
    one: str
    many: str
    part: str
    parts: str
    chart: str
    scatter: str
    scatter_lead: str
    colour: str
    filter: str
    relabel: str
    least: str
    exactness: str
    map: str = "Map of the features"
    map_lead: str = "Samples with like features lie near each other"


def part_codes(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Names of the parts of a run, and the place (n,) of that of each sample among them."""
    codes, parts = np.zeros(len(scores), dtype=np.uint32), scores.evidence.parts(scores.table, scores.outputs)
    for code, (_, members) in enumerate(parts):
        codes[members] = code
    return [name for name, _ in parts], codes


class View(ABC):
    """Targets of one kind on the page."""

    task: ClassVar[str]
    scripts: ClassVar[tuple[str, ...]]  # what the page runs for them
    hidden: ClassVar[tuple[str, ...]]  # settings that mean nothing for them

    @abstractmethod
    def phrases(self, outputs: np.ndarray) -> Phrases:
        """What the page says of them; `outputs` (K,) as of the scores."""

    @abstractmethod
    def embed(self, scores: Scores, rows: np.ndarray) -> dict[str, Any]:
        """The targets of some samples (k,), positions in the table, as plain JSON values."""

    @abstractmethod
    def quadrants(self, scores: Scores) -> Quadrants:
        """The four kinds of samples of a run."""

    @abstractmethod
    def figures(self, scores: Scores) -> list[tuple[str, str]]:
        """Values and what they count, beside the number of samples and the median LSI."""

    @abstractmethod
    def predicted(self, scores: Scores) -> str:
        """What the data set is to be predicted as, e.g. "in 10 classes"."""

    @abstractmethod
    def part_named(self, name: str, outputs: np.ndarray) -> str:
        """The samples of one part, e.g. "samples of class “owl”"."""

    @abstractmethod
    def carried(self, column: Column) -> Column:
        """What the page says of a column that travelled along."""

    @abstractmethod
    def called(self, column: Column) -> str:
        """How the page calls a column where it explains it."""

    @abstractmethod
    def doubts(self, scores: Scores) -> str:
        """How many targets are doubted, and what that means."""
