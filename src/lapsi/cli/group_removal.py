"""The LSI of whole groups of a run, what it costs told first."""

from __future__ import annotations

import pandas as pd

from lapsi.cli.data import reopen_features
from lapsi.cli.plan import duration
from lapsi.cli.terminal import say
from lapsi.engines.groups.plan import groups_seconds
from lapsi.errors import InputError
from lapsi.execution.cost import GIB
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.measures.group_lsi import plan_removal, score_groups
from lapsi.results.scores import Scores
from lapsi.settings.engine import Retrain
from lapsi.settings.settings import settings_from_dict
from lapsi.settings.task import REGRESSION


def remove_groups(scores: Scores, column: str, stages: Stages) -> pd.DataFrame:
    """The table of `leave_group_out` by a column; the groups are those of all samples that trained the probe, scored or not."""
    settings = settings_from_dict(scores.provenance.settings)
    if isinstance(settings.engine, Retrain):
        epochs = settings.engine.recipe.epochs
        made = "has hidden layers" if settings.model.hidden else f"was trained step by step ({epochs} epochs)"
        raise InputError(
            f"--leave-group-out is of the linear probe at its optimum, but the run {made}, so that its scores are of another "
            "model; score the data with --engine newton, and take the groups of that run."
        )
    if scores.task == REGRESSION and column == "label":
        raise InputError("--leave-group-out of quarters of the target means little; name a column of groups with --by.")
    dataset = reopen_features(scores, stages)
    labels = pd.Series(dataset.targets.shown, name="label")
    groups = labels.where(labels != "") if column == "label" else dataset.columns[column]  # without labels is without a group
    plan = plan_removal(dataset, groups, settings)
    if stages.show:
        seconds = groups_seconds(plan, device_of(settings.execution.device))
        memory = f"{plan.cost.peak_bytes / GIB:.2f} GiB at the peak"
        say(f"Leaving out {groups.nunique():,} groups: about {duration(seconds)} on this machine, {memory}.", "dim", error=True)
    return score_groups(dataset, groups, settings, stages)
