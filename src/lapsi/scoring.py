"""The whole way from features and labels to scores, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lapsi.analysis.maps import principal_map
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.engines.choose import NewtonPlan, make_plan
from lapsi.engines.newton.engine import closed_form
from lapsi.engines.retrain.engine import retraining
from lapsi.errors import InputError
from lapsi.execution.checkpoint import Keep
from lapsi.execution.progress import Stages
from lapsi.models.fitted import FittedProbe
from lapsi.results.scores import COLUMNS, Provenance, Scores, build_table
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings
from lapsi.settings.validation import require_device


def score(
    X: Any,
    y: Any,
    *,
    curvature: str = "diag",
    weight_decay: float = 0.01,
    prior_precision: float | str = "map",
    removal: str = "mean",
    standardize: bool = True,
    engine: str = "auto",
    hidden: tuple[int, ...] = (),
    activation: str = "relu",
    recipe: Recipe | None = None,
    every: int | None = None,
    refine: int | str = "auto",
    ids: Any = None,
    columns: Mapping[str, Any] | pd.DataFrame | None = None,
    indices: Any = None,
    verify: int = 16,
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    memory_limit: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Scores:
    """Laplace Sample Information of every sample of a labelled data set, under a softmax probe on its features.

    LSI(i) = KL(q ‖ q₋ᵢ) in nats: the divergence between the Laplace posterior over the probe's weights trained with
    sample i and the one trained without it (paper, Definition 2). By default not N models are trained but one: the
    leave-one-out optimum of the linear probe is an exact Newton step. With hidden layers, or any training recipe, the probe is
    trained anew without each sample, many models at once. Accuracy is measured on `verify` samples and stored with the scores.

    Args:
        X: (N, d) numeric features: numpy array, torch tensor, pandas frame.
        y: (N,) labels: integers, strings or booleans.
        ids: (N,) unique identifiers; default: the index of a pandas frame, else the row number.
        columns: what else is known of the samples, (N,) each by name; it travels along to the scores (usual names:
            `lapsi.data.dataset.CARRIED`).
        indices: positions of the samples to score (the others still train the model); default: all.
        checkpoint: directory where retraining keeps its finished parts. The same call goes on from there after a kill; it
            stays when all is done.
        progress: draw progress bars on standard error.
        curvature, weight_decay, prior_precision, removal, standardize: see `Settings`.
        engine, hidden, activation, recipe, every, refine, verify, device, dtype, seed, memory_limit: see `Settings`.

    Returns:
        `Scores`, one row a scored sample.

    Raises:
        InputError: the data or a setting cannot be used.
        MemoryLimitError: the run would not fit; raised before it starts.
        ConvergenceError: the fit did not converge, or training diverged.
    """
    settings = Settings(
        curvature=curvature,
        weight_decay=weight_decay,
        prior_precision=prior_precision,
        removal=removal,
        standardize=standardize,
        engine=engine,
        hidden=hidden,
        activation=activation,
        recipe=recipe,
        every=every,
        refine=refine,
        verify=verify,
        device=device,
        dtype=dtype,
        seed=seed,
        memory_limit=memory_limit,
    )
    dataset = make_dataset(X, y, ids=ids, columns=columns)
    rows = check_indices(indices, dataset.n_samples)
    return score_dataset(dataset, settings, rows, Stages(progress), None if checkpoint is None else Keep(Path(checkpoint), {}))[
        0
    ]


def score_dataset(
    dataset: Dataset, settings: Settings, rows: np.ndarray, stages: Stages, keep: Keep | None = None
) -> tuple[Scores, FittedProbe]:
    """Scores samples `rows` (n,) of a data set; also returns the probe that was trained on all of it.

    `keep`: where retraining keeps its finished parts, and goes on from those it finds.
    """
    device = require_device(settings.device)
    taken = [name for name in dataset.columns if name in COLUMNS]
    if taken:
        raise InputError(f"A column of the samples is named {taken[0]!r}, as one of the scores is; rename it.")
    plan = make_plan(dataset.n_samples, dataset.n_features, dataset.n_classes, len(rows), settings)
    if isinstance(plan, NewtonPlan):
        if keep is not None:
            raise InputError("checkpoint was given, but engine 'newton' does all its work in one go; leave it out.")
        evidence = closed_form(dataset, settings, plan, rows, device, stages)
    else:
        evidence = retraining(dataset, settings, plan, rows, stages, keep)
    model = evidence.model
    provenance = Provenance(
        version=version("lapsi"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.to_dict(),
        engine=settings.engine,
        device=str(device),
        source=dataset.source,
        data_hash=dataset.digest(),
        n_samples=dataset.n_samples,
        n_features=dataset.n_features,
        n_classes=dataset.n_classes,
        train_accuracy=float((model.log_probabilities(dataset.features).argmax(1) == dataset.labels).mean()),
        seconds=dict(stages.seconds),
        **evidence.record,
    )
    ids = dataset.ids[rows]
    samples = pd.DataFrame({"id": ids, "row": dataset.rows[rows]})
    table = build_table(samples, dataset.labels[rows], dataset.classes, evidence.loo_log_proba, evidence.measures)
    table = table.join(dataset.columns.iloc[rows].reset_index(drop=True))
    probabilities = np.exp(evidence.loo_log_proba).astype(np.float32)
    trajectory = evidence.trajectory
    if trajectory is not None:
        trajectory.insert(0, "id", ids[trajectory.pop("position")])
    on_map = principal_map(dataset.features, model.standardizer)[rows]
    return Scores(table, probabilities, dataset.classes, provenance, trajectory, on_map), model


def check_indices(indices: Any, n_samples: int) -> np.ndarray:
    """Positions (n,) int64, unique, in the order given; all for None.

    Raises:
        InputError: for anything but distinct integers in 0…N−1.
    """
    if indices is None:
        return np.arange(n_samples)
    rows = np.asarray(indices)
    if rows.ndim != 1 or len(rows) == 0 or rows.dtype.kind not in "iu":
        raise InputError(f"indices has shape {rows.shape} and dtype {rows.dtype}; expected a non-empty list of integers.")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise InputError(f"indices runs from {rows.min()} to {rows.max()}; expected positions from 0 to {n_samples - 1}.")
    if len(np.unique(rows)) < len(rows):
        raise InputError("indices names a sample more than once; expected distinct positions.")
    return rows.astype(np.int64)
