"""From features to the inputs of a model: (x − mean)·scale, then a constant 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lapsi.data.blocks import Blocks, Survey
from lapsi.errors import InputError
from lapsi.settings.model import NONE, ONE

CONSTANT_BELOW = 1e-12
SMALLEST_DEVIATION = 1e-150  # its inverse can still be squared
TOO_SMALL = "The features vary too little for float64 (their squares underflow); multiply them by a constant first."
TOO_LARGE = "The features are too large for float64 (their squares overflow); divide them by a constant first."


@dataclass(frozen=True, slots=True)
class Standardizer:
    """Maps features to the inputs of the model: (x − mean)·scale, then a constant 1.

    Attributes:
        mean, scale: (d,) float64; scale is 0 for a constant feature.
    """

    mean: np.ndarray
    scale: np.ndarray

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """(n, d + 1) float64 of features (n, d).

        Raises:
            InputError: when they are not finite in float64.
        """
        inputs = np.ones((features.shape[0], features.shape[1] + 1))
        self._write(features, inputs)
        if not np.isfinite(inputs.sum()):
            raise InputError(TOO_LARGE)
        return inputs

    def all_inputs(self, features: Blocks, dtype: type[np.floating[Any]] = np.float64) -> np.ndarray:
        """(N, d + 1) in a dtype, in one pass over the features."""
        n_rows, n_columns = features.shape
        inputs = np.ones((n_rows, n_columns + 1), dtype)
        for rows, block in features.blocks():
            if dtype is np.float64:
                self._write(block, inputs[rows])
            else:
                inputs[rows] = self.inputs(block)  # rounded once
        return inputs

    def _write(self, features: np.ndarray, inputs: np.ndarray) -> None:
        np.subtract(features, self.mean, out=inputs[:, :-1])
        inputs[:, :-1] *= self.scale


def standardizer_of(features: Survey, standardize: str) -> Standardizer:
    """How features become inputs; constant ones become 0 where they are scaled.

    Args:
        features: what one pass over them told.
        standardize: `"each"`: 1/standard deviation (population) of every feature; `"one"`: 1/the root of their mean variance
            for all; `"none"`: the identity.

    Raises:
        InputError: when a feature is too large or too small for float64.
    """
    std = np.sqrt(features.variance)
    if not np.isfinite(std).all():
        raise InputError(TOO_LARGE)
    if standardize == NONE:
        return Standardizer(np.zeros(len(std)), np.ones(len(std)))
    if ((std > 0) & (std < SMALLEST_DEVIATION)).any():
        raise InputError(TOO_SMALL)
    constant = is_constant(features)
    if standardize == ONE:
        std = np.full_like(std, _root_mean(std[~constant]))
    return Standardizer(features.mean, np.where(constant, 0.0, 1 / np.where(constant, 1.0, std)))


def is_constant(features: Survey) -> np.ndarray:
    """(d,) bool: whether a feature is the same for every sample."""
    return np.sqrt(features.variance) <= CONSTANT_BELOW * np.abs(features.mean)


def _root_mean(deviations: np.ndarray) -> float:
    """Root of the mean square; 1 of none."""
    if len(deviations) == 0:
        return 1.0
    largest = deviations.max()
    return float(largest * np.sqrt(np.square(deviations / largest).mean()))
