"""LSI of whole groups: the divergence between the posteriors with and without all samples of a contributor or class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lapsi.data.dataset import Dataset
from lapsi.data.tables.dataset import labelled
from lapsi.engines.base import Fit, Plan, Units, work_of
from lapsi.engines.evaluate import LSI_CURVATURE, LSI_MEAN, Observation, evaluate, n_steps, verify
from lapsi.engines.groups.engine import by_size, groups_fit
from lapsi.engines.groups.plan import plan_groups
from lapsi.engines.identity import groups_identity
from lapsi.engines.newton.ridge import ridge_fit
from lapsi.errors import InputError
from lapsi.execution.backend import HERE, Backend, open_backend
from lapsi.execution.checkpoint import Keep, open_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.progress import Stages
from lapsi.problem.base import PADDING
from lapsi.problem.linear import LinearProblem
from lapsi.problem.of_dataset import linear_problem, weighed
from lapsi.problem.removed import Removed
from lapsi.results.verification import Verification, draw_rows
from lapsi.settings.execution import WORKERS, Execution
from lapsi.settings.objective import ANEW, ObjectiveSpec
from lapsi.settings.settings import Settings, make_settings
from lapsi.settings.task import CLASSES, MULTILABEL, REGRESSION
from lapsi.training.newton import fit_map
from lapsi.training.regularization import regularized

HELD_OUT = {CLASSES: "held_out_accuracy", MULTILABEL: "held_out_accuracy", REGRESSION: "held_out_r2"}
HALF = 0.5
OBJECTIVE = ("weight_decay", "prior_precision", "removal", "noise_variance", "noise_removal", "class_weight")
TAKEN = (*OBJECTIVE, "standardize", "device", "memory_limit", "verify", "divergence", "order", *WORKERS)
Agreement = Callable[[Tensor, Tensor], Tensor]  # outputs and targets of a group to how well the ones fit the others


def leave_group_out(
    X: Any,
    y: Any,
    groups: Any,
    *,
    objective: ObjectiveSpec | None = None,
    curvature: str = "diag",
    execution: Execution | None = None,
    task: str = "auto",
    sample_weight: Any = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **choices: Any,
) -> pd.DataFrame:
    """LSI of removing each group as a whole, exact for the linear probe.

    KL(q ‖ q₋G) in nats, where q₋G is the Laplace posterior at the optimum of all samples outside G. It is not the sum of LSI
    over the members: samples that say the same look redundant one by one, and are not together.

    Args:
        X, y: as in `lapsi.score`.
        groups: (N,) the group of each sample: contributor, patient, class; missing values belong to none and always stay.
        objective, curvature, execution, task, sample_weight: as in `lapsi.score`.
        checkpoint: as in `lapsi.score`; its parts are of some groups each.
        progress: draw progress bars on standard error.
        choices: weight_decay, prior_precision, removal, noise_variance, noise_removal, class_weight, standardize, device,
            memory_limit, verify, divergence, order, backend, address, worker_cpus, as in `lapsi.score`.

    Returns:
        One row a group (its index): samples, lsi, lsi_mean, lsi_curvature (nats), and held_out_accuracy, how often the model
        fitted without the group predicts its labels (of numbers held_out_r2, the share of their variance that it explains);
        features stay scaled as they are with it, and samples of a class that only the group has do not count (NaN where that
        leaves none). The largest LSI first. `attrs["verification"]` says how far the LSI of up to 3 groups (`rows`) is from
        that of models fitted from nothing without them; not where `noise_removal` is `"anew"`, which fits every one so.

    Raises:
        InputError: the data or a setting cannot be used, or there are no groups, or one of all samples.
        MemoryLimitError, DiskFullError: it would not fit; raised before any work.
        ConvergenceError: a fit did not converge.
        BackendError: the machines that did the work are gone.
    """
    unused = [name for name in choices if name not in TAKEN]
    if unused:
        raise InputError(f"{unused[0]} was given, but groups are left out without it; expected some of {', '.join(TAKEN)}.")
    settings = make_settings("newton", curvature, objective=objective, execution=execution, **choices)
    dataset = labelled(X, y, task=task, weights=sample_weight, columns={"group": groups})
    keep = None if checkpoint is None else Keep(Path(checkpoint), {})
    with open_backend(settings.execution) as backend:
        return score_groups(dataset, dataset.columns["group"], settings, Stages(progress), keep, backend)


def plan_removal(dataset: Dataset, groups: pd.Series, settings: Settings) -> Plan:
    """What `score_groups` will cost; `groups_seconds` tells how long it takes.

    Raises:
        InputError, MemoryLimitError: as `leave_group_out`.
    """
    sizes = [len(rows) for rows in _members(dataset, groups).values()]
    require_device(settings.execution.device)
    if settings.curvature == "kfac" and settings.order != 1:
        raise InputError("divergence is 'renyi', but groups leave curvature 'kfac' by KL alone; use 'diag' or 'full', or KL.")
    return plan_groups(work_of(dataset, len(sizes)), sizes, settings)


def score_groups(
    dataset: Dataset,
    groups: pd.Series,
    settings: Settings,
    stages: Stages,
    keep: Keep | None = None,
    backend: Backend = HERE,
) -> pd.DataFrame:
    """The table of `leave_group_out` for groups (N rows) of a data set; `keep` and `backend` as in `score_dataset`."""
    members, device = _members(dataset, groups), require_device(settings.execution.device)
    plan = plan_removal(dataset, groups, settings)
    dataset = weighed(dataset, settings)
    units = [torch.as_tensor(positions, device=device) for positions in members.values()]
    if keep is not None:
        keep.require_room(plan.kept_bytes, 0)
    checkpoint = open_checkpoint(keep, groups_identity(dataset, settings, list(members.values())), {})
    anew = settings.objective.noise_removal == ANEW
    try:
        chosen = regularized(dataset, settings, stages)
        problem = linear_problem(dataset, chosen.standardizer, chosen.settings)
        with stages.stage("fit") as advance:
            fit: Fit = (ridge_fit if anew else groups_fit)(fit_map(problem, advance=lambda: advance(1)), settings)
        observation = _observation(problem, dataset.targets.task)
        with stages.stage("leave group out", n_steps(fit, len(units), checkpoint)) as advance:
            (found,) = evaluate(fit, units, observation, checkpoint, advance, backend)
    finally:
        checkpoint.release()
    mean, curvature, held_out = found[LSI_MEAN][-1], found[LSI_CURVATURE][-1], HELD_OUT[dataset.targets.task]
    columns = {
        "samples": [len(positions) for positions in members.values()],
        "lsi": mean + curvature,
        "lsi_mean": mean,
        "lsi_curvature": curvature,
        held_out: found[held_out],
    }
    table = pd.DataFrame(columns, index=pd.Index(list(members), name=groups.name))
    checked = None if anew else _verified(fit, units, mean + curvature, settings, stages)
    table = table.sort_values("lsi", ascending=False, kind="stable")
    if checked is not None:
        names = [str(list(members)[position]) for position in checked.rows]
        table.attrs["verification"] = {**checked.to_dict(), "rows": names}
    return table


def _members(dataset: Dataset, groups: pd.Series) -> dict[Any, np.ndarray]:
    """The rows of each group by its name, the largest first, then in order."""
    named = {name: np.asarray(rows) for name, rows in groups.groupby(groups, sort=True).indices.items()}
    in_order = list(named.items())
    members = dict(in_order[position] for position in by_size([rows for _, rows in in_order]))
    if len(members) == 0 or max(map(len, members.values())) == dataset.n_samples:
        raise InputError(
            f"There is {len(members)} group for {dataset.n_samples} samples; expected groups that leave some behind."
        )
    return members


def _verified(fit: Fit, units: Units, lsi: np.ndarray, settings: Settings, stages: Stages) -> Verification | None:
    """Some groups against problems without them that are fitted from nothing."""
    n_checks = fit.n_checks(settings.execution.verify, len(units))
    if n_checks == 0:
        return None
    with stages.stage("verify", n_checks) as advance:
        drawn = draw_rows(lsi, np.full(len(lsi), np.nan), n_checks, settings.execution.seed)
        return verify(fit, units, lsi, drawn, advance)


def _observation(problem: LinearProblem, task: str) -> Observation:
    """How well the model without a group predicts its targets."""
    name, fit = HELD_OUT[task], FITS[task](problem)

    def compute(removed: Removed) -> dict[str, Tensor]:
        there = removed.units != PADDING
        parts = zip(removed.outputs, problem.targets[removed.units], there, strict=True)
        return {name: torch.stack([fit(outputs[own], targets[own]) for outputs, targets, own in parts])}

    return Observation(compute, {name: ()}, frozenset({name}))


def _accuracy(problem: LinearProblem) -> Agreement:
    """Share of a group that is predicted as labelled, among samples of classes that the others have."""
    counts = torch.bincount(problem.targets, minlength=problem.likelihood.n_outputs)

    def share(outputs: Tensor, labels: Tensor) -> Tensor:
        known = (counts > torch.bincount(labels, minlength=len(counts)))[labels]
        return (outputs.argmax(1) == labels)[known].double().mean()

    return share


def _states(problem: LinearProblem) -> Agreement:
    """Share of samples and labels of a group whose state is predicted as given."""
    return lambda outputs, present: ((outputs > 0) == (present > HALF)).double().mean()


def _explained(problem: LinearProblem) -> Agreement:
    """Share of the variance of all samples' numbers, which is 1, that is explained in a group."""
    return lambda outputs, numbers: 1 - (outputs - numbers).square().mean()


FITS: dict[str, Callable[[LinearProblem], Agreement]] = {CLASSES: _accuracy, MULTILABEL: _states, REGRESSION: _explained}
