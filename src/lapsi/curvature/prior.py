"""The directions of the weights that the loss does not see, where the precision is the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.precision.diag import DiagPrecision
from lapsi.precision.divergence import Divergence
from lapsi.problem.linear import LinearProblem


def prior_share(problem: LinearProblem, removed: Tensor, kind: Divergence) -> Tensor:
    """What the prior's drop adds there to `lsi_curvature` (…, n), nats, when weights `removed` (n,) leave."""
    objective, model = problem.objective, problem.model
    one = DiagPrecision(removed.new_tensor([objective.prior(problem.total)], dtype=torch.float64))
    change = -objective.prior_drop(removed.double())[:, None]
    return (model.n_weights - model.n_params) * kind.of(one.compare(torch.zeros_like(change), change)).curvature
