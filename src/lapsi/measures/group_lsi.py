"""LSI of whole groups: the divergence between the posteriors with and without all samples of a contributor or class."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.standardize import standardizer_of
from lapsi.engines.base import work_of
from lapsi.engines.choose import make_engine
from lapsi.engines.evaluate import LSI_CURVATURE, LSI_MEAN, Observation, evaluate
from lapsi.engines.groups.engine import groups_fit
from lapsi.engines.newton.engine import linear_problem
from lapsi.errors import InputError
from lapsi.execution.checkpoint import open_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.progress import Stages
from lapsi.problem.linear import LinearProblem
from lapsi.problem.removed import Removed
from lapsi.settings.execution import Execution
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map

TAKEN = ("weight_decay", "prior_precision", "removal", "standardize", "device", "memory_limit")


def leave_group_out(
    X: Any,
    y: Any,
    groups: Any,
    *,
    objective: ObjectiveSpec | None = None,
    curvature: str = "diag",
    execution: Execution | None = None,
    progress: bool = True,
    **choices: Any,
) -> pd.DataFrame:
    """LSI of removing each group as a whole, exact for the linear softmax probe.

    KL(q ‖ q₋G) in nats, where q₋G is the Laplace posterior at the optimum of all samples outside G. It is not the sum of LSI
    over the members: samples that say the same look redundant one by one, and are not together.

    Args:
        X, y: as in `lapsi.score`.
        groups: (N,) the group of each sample: contributor, patient, class; missing values belong to none and always stay.
        objective, curvature, execution: as in `lapsi.score`.
        progress: draw progress bars on standard error.
        choices: weight_decay, prior_precision, removal, standardize, device, memory_limit, as in `lapsi.score`.

    Returns:
        One row a group (its index): samples, lsi, lsi_mean, lsi_curvature (nats), and held_out_accuracy, how often the model
        fitted without the group predicts its labels; features stay scaled as they are with it, and samples of a class that
        only the group has do not count (NaN where that leaves none). The largest LSI first.

    Raises:
        InputError: the data or a setting cannot be used, or there are no groups, or one of all samples.
        MemoryLimitError: it would not fit; raised before any work.
        ConvergenceError: a fit did not converge.
    """
    unused = [name for name in choices if name not in TAKEN]
    if unused:
        raise InputError(f"{unused[0]} was given, but groups are left out without it; expected some of {', '.join(TAKEN)}.")
    settings = make_settings("newton", curvature, objective=objective, execution=execution, **choices)
    dataset = make_dataset(X, y, columns={"group": groups})
    return score_groups(dataset, dataset.columns["group"], settings, Stages(progress))


def score_groups(dataset: Dataset, groups: pd.Series, settings: Settings, stages: Stages) -> pd.DataFrame:
    """The table of `leave_group_out` for groups (N rows) of a data set."""
    members = groups.groupby(groups, sort=True).indices
    if len(members) == 0 or max(map(len, members.values())) == dataset.n_samples:
        raise InputError(
            f"There is {len(members)} group for {dataset.n_samples} samples; expected groups that leave some behind."
        )
    device = require_device(settings.execution.device)
    make_engine(settings).plan(work_of(dataset, 1))
    standardizer = standardizer_of(dataset.survey, settings.model.standardize)
    problem = linear_problem(dataset, standardizer, settings)
    with stages.stage("fit") as advance:
        fit = groups_fit(fit_map(problem, advance=lambda: advance(1)), settings.curvature)
    units = [torch.as_tensor(positions, device=device) for positions in members.values()]
    with stages.stage("leave group out", len(units)) as advance:
        (found,) = evaluate(fit, units, _observation(problem), open_checkpoint(None, {}, {}), advance)
    mean, curvature = found[LSI_MEAN][-1], found[LSI_CURVATURE][-1]
    columns = {
        "samples": [len(positions) for positions in members.values()],
        "lsi": mean + curvature,
        "lsi_mean": mean,
        "lsi_curvature": curvature,
        "held_out_accuracy": found["held_out_accuracy"],
    }
    table = pd.DataFrame(columns, index=pd.Index(list(members), name=groups.name))
    return table.sort_values("lsi", ascending=False, kind="stable")


def _observation(problem: LinearProblem) -> Observation:
    """How often the model without a group predicts its labels."""
    counts = torch.bincount(problem.targets, minlength=problem.likelihood.n_outputs)

    def compute(removed: Removed) -> dict[str, Tensor]:
        accuracies = [_accuracy(*parts, counts) for parts in zip(removed.outputs, problem.targets[removed.units], strict=True)]
        return {"held_out_accuracy": torch.stack(accuracies)}

    return Observation(compute, {"held_out_accuracy": ()}, frozenset({"held_out_accuracy"}))


def _accuracy(outputs: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Share of a group that is predicted as labelled, among samples of classes that the others have."""
    known = (counts > torch.bincount(labels, minlength=len(counts)))[labels]
    return (outputs.argmax(1) == labels)[known].double().mean()
