"""Single samples left out of what was fitted on all, whatever is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lapsi.data.dataset import Dataset
from lapsi.engines.base import Fit, Units, work_of
from lapsi.engines.choose import make_engine
from lapsi.engines.evaluate import Observation, evaluate, n_steps
from lapsi.execution.backend import HERE, Backend
from lapsi.execution.checkpoint import Arrays, Checkpoint
from lapsi.execution.progress import Stages
from lapsi.settings.settings import Settings
from lapsi.training.regularization import Regularized, regularized

Observe = Callable[[Fit], Observation]


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Samples of a data set that left.

    Attributes:
        chosen: the settings, with nothing left to choose.
        fit: of all samples.
        units: (n, 1) that left.
        by_seed: what is kept of them.
    """

    chosen: Regularized
    fit: Fit
    units: Tensor
    by_seed: list[Arrays]


def leave_samples_out(
    dataset: Dataset,
    settings: Settings,
    rows: np.ndarray,
    observe: Observe,
    checkpoint: Checkpoint,
    stages: Stages,
    backend: Backend = HERE,
) -> LeftOut:
    """Chooses what is open, fits all samples of a weighed data set, and leaves samples `rows` (n,) out; ends the checkpoint."""
    engine = make_engine(settings)
    plan = engine.continued(engine.plan(work_of(dataset, len(rows))), checkpoint.plan)
    try:
        chosen = regularized(dataset, settings, stages)
        fit = make_engine(chosen.settings).fit(dataset, chosen.standardizer, plan, stages)
        units = torch.as_tensor(rows, device=settings.execution.device or "cpu")[:, None]
        return LeftOut(chosen, fit, units, leave_out(fit, units, observe, checkpoint, stages, backend))
    finally:
        checkpoint.release()


def leave_out(
    fit: Fit, units: Units, observe: Observe, checkpoint: Checkpoint, stages: Stages, backend: Backend = HERE
) -> list[Arrays]:
    """What `evaluate` gives of units, under a progress bar."""
    with stages.stage("leave-one-out", n_steps(fit, len(units), checkpoint)) as advance:
        return evaluate(fit, units, observe(fit), checkpoint, advance, backend)
