"""The directions of the weights that the loss does not see, where the precision is the prior."""

from __future__ import annotations

import torch

from lapsi.precision.base import excess
from lapsi.problem.linear import LinearProblem


def prior_share(problem: LinearProblem, n_removed: int) -> float:
    """What the prior's drop adds there to `lsi_curvature`, nats: the same for all units of one size."""
    objective, model = problem.objective, problem.model
    ratio = torch.tensor(-objective.prior_drop(n_removed) / objective.prior(problem.n_samples), dtype=torch.float64)
    return 0.5 * (model.n_weights - model.n_params) * float(excess(ratio))
