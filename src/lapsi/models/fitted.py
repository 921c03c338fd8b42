"""What was trained on all samples, kept for predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lapsi.data.standardize import Standardizer
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.mlp import Mlp

BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A model trained on all samples, once or with several seeds whose predictions are averaged.

    Attributes:
        standardizer: maps features to the inputs of the model.
        model: its shapes.
        likelihood: what its outputs mean.
        params: (S, P) float64.
    """

    standardizer: Standardizer
    model: Mlp
    likelihood: Likelihood
    params: np.ndarray

    def outputs(self, features: np.ndarray) -> np.ndarray:
        """(n, K) for features (n, d); log-probabilities for the softmax."""
        starts = range(0, len(features), BLOCK_ROWS)
        return np.concatenate([self.outputs_of(self._inputs(features[start : start + BLOCK_ROWS])) for start in starts])

    def outputs_of(self, inputs: torch.Tensor) -> np.ndarray:
        """The same for inputs (n, D), standardized and with their constant 1."""
        each = [self.model.outputs(torch.from_numpy(params).to(inputs.device), inputs) for params in self.params]
        return self.likelihood.combine(torch.stack(each)).cpu().numpy()

    def _inputs(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.standardizer.inputs(features))

    @property
    def weights(self) -> np.ndarray:
        """(K, d + 1) of a linear probe, the bias last; the mean over the seeds."""
        return self.params.mean(0).reshape(self.model.shapes[-1])
