"""The LSI of whole groups of a run, what it costs told first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lapsi.cli.data import reopen_features
from lapsi.cli.terminal import say
from lapsi.engines.groups.plan import groups_seconds
from lapsi.errors import InputError
from lapsi.execution.backend import open_backend
from lapsi.execution.checkpoint import Keep
from lapsi.execution.cost import GIB, duration
from lapsi.execution.device import device_of
from lapsi.execution.progress import Stages
from lapsi.measures.group_lsi import plan_removal, score_groups
from lapsi.results.scores import Scores
from lapsi.settings.engine import Retrain
from lapsi.settings.execution import WORKERS, Execution
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings
from lapsi.settings.task import REGRESSION


@dataclass(frozen=True, slots=True)
class Removal:
    """Leaves groups of a run out: the table of `leave_group_out` by a column.

    Attributes:
        machines: fields of `Execution` that say who does it; those of the run are not taken.
        checkpoint: the folder where finished parts are kept, or None.
    """

    machines: dict[str, Any]
    checkpoint: Path | None

    def __call__(self, scores: Scores, column: str, stages: Stages) -> pd.DataFrame:
        """The groups are those of all samples that trained the probe, scored or not."""
        settings = _settings_of(scores, self.machines)
        if scores.task == REGRESSION and column == "label":
            raise InputError("--leave-group-out of quarters of the target means little; name a column of groups with --by.")
        dataset = reopen_features(scores, stages)
        labels = pd.Series(dataset.targets.shown, name="label")
        groups = labels.where(labels != "") if column == "label" else dataset.columns[column]  # without labels: without a group
        plan = plan_removal(dataset, groups, settings)
        if stages.show:
            seconds = groups_seconds(plan, device_of(settings.execution.device))
            memory = f"{plan.cost.peak_bytes / GIB:.2f} GiB at the peak"
            told = f"Leaving out {groups.nunique():,} groups: about {duration(seconds)} on this machine, {memory}."
            say(told, "dim", error=True)
        keep = None if self.checkpoint is None else Keep(self.checkpoint, {})
        with open_backend(settings.execution) as backend:
            return score_groups(dataset, groups, settings, stages, keep, backend)


def _settings_of(scores: Scores, machines: dict[str, Any]) -> Settings:
    """Those of a run, done elsewhere.

    Raises:
        InputError: when the run is not of the linear probe at its optimum.
    """
    settings = stored_settings(scores.provenance.settings)
    if not isinstance(settings, Settings):
        raise InputError(
            f"--leave-group-out is of the linear probe at its optimum, but the run is of {settings.model_in_words}; score "
            "features of the data with --engine newton, and take the groups of that run."
        )
    if isinstance(settings.engine, Retrain):
        epochs = settings.engine.recipe.epochs
        made = "has hidden layers" if settings.model.hidden else f"was trained step by step ({epochs} epochs)"
        raise InputError(
            f"--leave-group-out is of the linear probe at its optimum, but the run {made}, so that its scores are of another "
            "model; score the data with --engine newton, and take the groups of that run."
        )
    here = {name: getattr(Execution(), name) for name in WORKERS}
    return replace(settings, execution=replace(settings.execution, **(here | machines)))
