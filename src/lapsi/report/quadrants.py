"""Four kinds of samples, by LSI and by how much the model that never saw a sample prefers its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lapsi.results.scores import Scores

HIGH_LSI = 0.75
NAMES = ("redundant", "typical", "hard but right", "likely mislabelled")
MEANINGS = (
    "little LSI, and the model is sure of the label without the sample: it would hardly be missed",
    "little LSI, ordinary confidence: the main stream of its class",
    "much LSI, yet the model agrees with the label without having seen it: rare, worth keeping",
    "much LSI, and the model prefers another label: look at these first",
)


@dataclass(frozen=True, slots=True)
class Quadrants:
    """Where the lines run.

    The upper half are the samples with an LSI of at least `lsi`: those whose margin is below 0 are likely mislabelled, the
    others hard but right. In the lower half a margin of at least `margin` makes a sample redundant, less makes it typical.
    """

    lsi: float
    margin: float

    def codes(self, lsi: np.ndarray, margin: np.ndarray) -> np.ndarray:
        """(n,) int64, positions in `NAMES`."""
        high = np.where(margin < 0, 3, 2)
        low = np.where(margin >= self.margin, 0, 1)
        return np.where(lsi >= self.lsi, high, low)


def find_quadrants(scores: Scores) -> Quadrants:
    """The top quarter by LSI above, the rest below; the rest parted at its median margin, or at 0 where that is negative."""
    lsi, margin = scores.lsi, scores.table["loo_margin"].to_numpy()
    line = float(np.quantile(lsi, HIGH_LSI))
    below = margin[lsi < line]
    return Quadrants(line, max(0.0, float(np.median(below))) if len(below) else 0.0)
