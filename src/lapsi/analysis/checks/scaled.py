"""Features as distances between samples are taken."""

from __future__ import annotations

import numpy as np


def scaled(features: np.ndarray, is_table: bool) -> np.ndarray:
    """(n, d) floating-point: as they are, or, of the columns of a table, centred and each of the deviation 1."""
    values = features.astype(np.result_type(features.dtype, np.float32))
    if not is_table:
        return values
    deviation = values.std(0)
    return np.asarray((values - values.mean(0)) / np.where(deviation > 0, deviation, 1))
