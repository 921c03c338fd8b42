"""Four kinds of samples, by LSI and by what the model that never saw a sample says of its target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

HIGH_LSI = 0.75


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the four are, from the one that is shown in blue to the one in vermillion.

    Attributes:
        names, meanings: of each.
        corners: which of them lies bottom left, bottom right, top left and top right.
        measure: the column along the horizontal axis; of its size where `of_size`.
        ends: of that axis; None: those of the run.
        note: what parts them, in words.
    """

    names: tuple[str, str, str, str]
    meanings: tuple[str, str, str, str]
    corners: tuple[int, int, int, int]
    measure: str
    of_size: bool
    ends: tuple[float, float] | None
    note: str


@dataclass(frozen=True, slots=True)
class Quadrants:
    """Where the lines run.

    The upper half are the samples with an LSI of at least `lsi`, parted at `upper` along the horizontal axis; the others are
    parted at `lower`.
    """

    kinds: Kinds
    lsi: float
    upper: float
    lower: float

    def across(self, table: pd.DataFrame) -> np.ndarray:
        """(n,) along the horizontal axis."""
        values = table[self.kinds.measure].to_numpy()
        return np.abs(values) if self.kinds.of_size else values

    def codes(self, table: pd.DataFrame) -> np.ndarray:
        """(n,) int64, positions in the names."""
        high = table["lsi"].to_numpy() >= self.lsi
        right = self.across(table) >= np.where(high, self.upper, self.lower)
        return np.array(self.kinds.corners)[2 * high + right]

    def embed(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self.kinds), "lsi": self.lsi, "upper": self.upper, "lower": self.lower}


def lsi_line(lsi: np.ndarray) -> float:
    """Above it lies the top quarter."""
    return float(np.quantile(lsi, HIGH_LSI))
