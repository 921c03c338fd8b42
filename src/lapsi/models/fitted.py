"""What was trained, kept for predictions; and what a way of scoring found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lapsi.data.dataset import Standardizer
from lapsi.errors import ConvergenceError
from lapsi.models.mlp import MlpProbe

BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class FittedProbe:
    """The probe trained on all samples, once or with several seeds whose probabilities are averaged.

    Attributes:
        standardizer: maps features to the inputs of the probe.
        probe: its shapes.
        params: (S, P) float64.
    """

    standardizer: Standardizer
    probe: MlpProbe
    params: np.ndarray

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, C) for features (n, d)."""
        blocks = [features[start : start + BLOCK_ROWS] for start in range(0, len(features), BLOCK_ROWS)]
        return np.concatenate([self._block(block) for block in blocks])

    def _block(self, features: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(self.standardizer.inputs(features))
        logits = torch.stack([self.probe.logits(torch.from_numpy(params), inputs) for params in self.params])
        return mean_log_probabilities(torch.log_softmax(logits, -1)).numpy()

    @property
    def weights(self) -> np.ndarray:
        """(C, d + 1) of a linear probe, the bias last; the mean over the seeds."""
        return self.params.mean(0).reshape(self.probe.shapes[-1])


def mean_log_probabilities(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean probability over the first axis."""
    return torch.logsumexp(log_probabilities, 0) - float(np.log(len(log_probabilities)))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What an engine found out about n samples.

    Attributes:
        loo_log_proba: (n, C) log-probabilities under the models that never saw the sample.
        measures: columns of the scores, (n,) each.
        trajectory: the scores after some epochs, one row a sample and epoch, with the positions of the samples; or None.
        model: the probe trained on all samples.
        record: fields of the provenance: dtype, grad_norm, n_iterations, verification.
    """

    loo_log_proba: np.ndarray
    measures: dict[str, np.ndarray]
    trajectory: pd.DataFrame | None
    model: FittedProbe
    record: dict[str, Any]


def require_scores(lsi: np.ndarray, rows: np.ndarray) -> None:
    """Refuses scores (n,) of samples `rows` (n,) that are no divergence.

    Raises:
        ConvergenceError: with a sample and the remedy.
    """
    bad = ~(np.isfinite(lsi) & (lsi >= 0))
    if bad.any():
        raise ConvergenceError(
            f"{int(bad.sum())} of {len(lsi)} samples have no finite LSI, the first in row {rows[bad][0]}: without them the "
            "model changes beyond what can be computed. Use a larger weight decay or prior precision (engine 'newton': "
            "refine='auto')."
        )
