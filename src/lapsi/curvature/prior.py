"""The directions of the weights that the loss does not see, where the precision is the prior."""

from __future__ import annotations

from torch import Tensor

from lapsi.precision.base import excess
from lapsi.problem.linear import LinearProblem


def prior_share(problem: LinearProblem, removed: Tensor) -> Tensor:
    """What the prior's drop adds there to `lsi_curvature` (n,), nats, when weights `removed` (n,) leave."""
    objective, model = problem.objective, problem.model
    ratio = -objective.prior_drop(removed) / objective.prior(problem.total)
    return 0.5 * (model.n_weights - model.n_params) * excess(ratio)
