"""LSI of whole groups: the divergence between the posteriors with and without all samples of a contributor or class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lapsi.curvature.ggn import laplace_posterior
from lapsi.data.dataset import Dataset, fit_standardizer, make_dataset
from lapsi.engines.choose import make_plan
from lapsi.engines.groups.steps import group_shift
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.mlp import MlpProbe
from lapsi.precision.base import KLTerms, excess
from lapsi.precision.full import dense_kl
from lapsi.problem.linear import Problem, linear_problem
from lapsi.problem.network import NetworkProblem
from lapsi.settings.settings import Settings
from lapsi.settings.validation import require_device
from lapsi.training.newton import fit_map

Divergence = Callable[[Tensor, Tensor], KLTerms]


def leave_group_out(
    X: Any,
    y: Any,
    groups: Any,
    *,
    curvature: str = "diag",
    weight_decay: float = 0.01,
    prior_precision: float | str = "map",
    removal: str = "mean",
    standardize: bool = True,
    device: str | None = None,
    memory_limit: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """LSI of removing each group as a whole, exact for the linear softmax probe.

    KL(q ‖ q₋G) in nats, where q₋G is the Laplace posterior at the optimum of all samples outside G. It is not the sum of LSI
    over the members: samples that say the same look redundant one by one, and are not together.

    Args:
        X, y: as in `lapsi.score`.
        groups: (N,) the group of each sample: contributor, patient, class; missing values belong to none and always stay.
        progress: draw progress bars on standard error.
        curvature, weight_decay, prior_precision, removal, standardize, device, memory_limit: see `Settings`.

    Returns:
        One row a group (its index): samples, lsi, lsi_mean, lsi_curvature (nats), and held_out_accuracy, how often the model
        fitted without the group predicts its labels; features stay scaled as they are with it, and samples of a class that
        only the group has do not count (NaN where that leaves none). The largest LSI first.

    Raises:
        InputError: the data or a setting cannot be used, or there are no groups, or one of all samples.
        MemoryLimitError: it would not fit; raised before any work.
        ConvergenceError: a fit did not converge.
    """
    settings = Settings(
        curvature=curvature,
        weight_decay=weight_decay,
        prior_precision=prior_precision,
        removal=removal,
        standardize=standardize,
        device=device,
        memory_limit=memory_limit,
        engine="newton",
    )
    dataset = make_dataset(X, y, columns={"group": groups})
    return score_groups(dataset, dataset.columns["group"], settings, Stages(progress))


def score_groups(dataset: Dataset, groups: pd.Series, settings: Settings, stages: Stages) -> pd.DataFrame:
    """The table of `leave_group_out` for groups (N rows) of a data set."""
    members = groups.groupby(groups, sort=True).indices
    if len(members) == 0 or max(map(len, members.values())) == dataset.n_samples:
        raise InputError(
            f"There is {len(members)} group for {dataset.n_samples} samples; expected groups that leave some behind."
        )
    device = require_device(settings.device)
    make_plan(dataset.n_samples, dataset.n_features, dataset.n_classes, len(members), settings)
    problem = linear_problem(dataset, fit_standardizer(dataset.features, settings.standardize), settings, device)
    with stages.stage("fit") as advance:
        fit = fit_map(problem, advance=lambda: advance(1))
    divergence = _divergence(problem, fit.params, settings.curvature)
    rows = []
    with stages.stage("leave group out", len(members)) as advance:
        for name, positions in members.items():
            indices = torch.as_tensor(positions, device=device)
            shift = group_shift(problem, fit.params, fit.hessian, indices)
            terms = divergence(indices, shift)
            group = problem.only(indices)
            accuracy = _held_out_accuracy(problem, group, fit.params + shift)
            mean, curvature = float(terms.mean), float(terms.curvature)
            rows.append((name, len(positions), mean + curvature, mean, curvature, accuracy))
            advance(1)
    columns = [groups.name, "samples", "lsi", "lsi_mean", "lsi_curvature", "held_out_accuracy"]
    table = pd.DataFrame(rows, columns=columns).set_index(str(groups.name))
    return table.sort_values("lsi", ascending=False, kind="stable")


def _held_out_accuracy(problem: Problem, group: Problem, params: Tensor) -> float:
    """Share of the group that the model without it predicts, among samples of classes that the others have."""
    counts = [torch.bincount(part.labels, minlength=problem.probe.n_classes) for part in (problem, group)]
    known = (counts[0] > counts[1])[group.labels]
    predicted = problem.probe.logits(params, group.inputs).argmax(1)
    return float((predicted == group.labels)[known].double().mean()) if bool(known.any()) else float("nan")


def _divergence(problem: Problem, map_params: Tensor, structure: str) -> Divergence:
    """KL from the posterior of all samples to that without a group, whose optimum is `shift` (C−1, D) away."""
    if structure == "full":
        return _full_divergence(problem, map_params)
    probe = MlpProbe((problem.probe.n_features, problem.probe.n_classes), ACTIVATIONS["relu"])
    network = NetworkProblem(problem.inputs, problem.labels, probe, problem.objective)
    params = problem.probe.weights(map_params).flatten()
    whole = laplace_posterior(network, params, structure)

    def divergence(indices: Tensor, shift: Tensor) -> KLTerms:
        moved = problem.probe.weights(shift).flatten()
        return whole.kl_to(moved, laplace_posterior(network, params + moved, structure, indices))

    return divergence


def _full_divergence(problem: Problem, map_params: Tensor) -> Divergence:
    """The same over the contrasts; in the direction that they leave out the precision is the prior."""
    objective, n = problem.objective, problem.n_samples
    whole = problem.hessian(map_params, objective.prior(n))
    factor = torch.linalg.cholesky(whole)

    def divergence(indices: Tensor, shift: Tensor) -> KLTerms:
        drop = objective.prior_drop(len(indices))
        left = problem.without(indices).hessian(map_params + shift, objective.prior(n) - drop)
        flat = shift.flatten()
        terms = dense_kl(factor, left - whole, (flat @ left @ flat)[None])
        mean_direction = 0.5 * problem.probe.n_features * excess(torch.tensor(-drop / objective.prior(n), dtype=torch.float64))
        return KLTerms(terms.mean, terms.curvature + float(mean_direction))

    return divergence
