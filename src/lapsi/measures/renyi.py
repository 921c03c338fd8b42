"""Rényi divergences of single samples, of several orders at once: the view of privacy (paper, Appendix H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lapsi.analysis.privacy import column_of
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.engines.base import Fit, work_of
from lapsi.engines.choose import make_engine
from lapsi.engines.evaluate import Observation
from lapsi.engines.identity import identity
from lapsi.engines.leave_out import leave_samples_out
from lapsi.errors import InputError
from lapsi.execution.backend import open_backend
from lapsi.execution.checkpoint import Keep, open_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.precision.divergence import Several, of_order
from lapsi.problem.of_dataset import weighed
from lapsi.problem.removed import Removed
from lapsi.results.columns import Column
from lapsi.results.scores import Scores
from lapsi.settings.engine import Retrain
from lapsi.settings.option import Number, Numbers
from lapsi.settings.settings import Settings
from lapsi.settings.stored import stored_settings

RENYI = "renyi"
ORDERS = (1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
EACH = Numbers(Number(0, beyond=True), "positive numbers")


def privacy(
    scores: Scores,
    X: Any,
    y: Any,
    orders: Sequence[float] = ORDERS,
    *,
    ids: Any = None,
    sample_weight: Any = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Scores:
    """Scores with the Rényi divergences of their samples, D_α(with ‖ without) in nats, in columns of their own.

    What each sample is worth to an observer of the posterior, by the measure that Rényi differential privacy bounds for all
    data sets and all samples (Mironov 2017). This tells it of one data set, after training (per instance: Wang 2017), and is no
    guarantee of differential privacy. The samples leave anew as they did; of order 1 it is LSI.

    Args:
        scores: of a probe on features.
        X, y: all data that they were made from, as in `lapsi.score`.
        orders: α of each column `renyi_α`; those that are there already stay.
        ids, sample_weight: as `lapsi.score` was given them.
        checkpoint: directory where finished parts are kept; the same call goes on with them. None keeps none.
        progress: draw progress bars on standard error.

    Returns:
        The scores with the columns; `lapsi.analysis.privacy.by_order` sums them up, `lapsi.plots.by_order` draws them.

    Raises:
        InputError: the data are others, or the run has no such divergences.
        MemoryLimitError, ConvergenceError: as `lapsi.score`.
    """
    required_settings(scores)
    dataset = make_dataset(X, y, task=scores.task, weights=sample_weight, ids=ids)
    keep = None if checkpoint is None else Keep(Path(checkpoint), {})
    return add_orders(scores, dataset, orders, Stages(progress), keep)


def checked_orders(orders: Sequence[float]) -> tuple[float, ...]:
    """Each once, the lowest first.

    Raises:
        InputError: when there is none, or one is no positive number.
    """
    found = EACH.check("orders", tuple(orders))
    if not found:
        raise InputError("orders is empty; expected positive numbers, e.g. 1, 2, 8.")
    return tuple(sorted({float(order) for order in found}))


def add_orders(scores: Scores, dataset: Dataset, orders: Sequence[float], stages: Stages, keep: Keep | None = None) -> Scores:
    """The same of the data set that the scores were made from; `keep`: where finished parts are kept.

    Raises:
        InputError: as `privacy`.
    """
    settings = required_settings(scores)
    missing = [order for order in checked_orders(orders) if column_of(order) not in scores.table]
    if not missing:
        return scores
    if not dataset.has_digest(scores.provenance.data_hash):
        raise InputError("The data are not those of the run; expected features, labels and ids as they were scored.")
    rows = pd.Index(dataset.ids).get_indexer(pd.Index(scores.table["id"]))
    values = _left_out(dataset, settings, rows, missing, stages, keep)
    columns = [_column(order) for order in missing]
    table = pd.DataFrame(values, columns=[column.name for column in columns]).assign(id=scores.table["id"].to_numpy())
    before = scores.provenance.measures.get(RENYI, {"orders": []})
    origin = {
        "version": version("lapsi"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "orders": sorted([*before["orders"], *missing]),
        "data_hash": scores.provenance.data_hash,
        "seconds": dict(stages.seconds),
    }
    return scores.with_measure(table, columns, origin={RENYI: origin})


def required_settings(scores: Scores) -> Settings:
    """Those of a run whose samples have Rényi divergences.

    Raises:
        InputError: when they have none.
    """
    settings = stored_settings(scores.provenance.settings)
    if not isinstance(settings, Settings):
        raise InputError(
            f"The run is of {settings.model_in_words}, and this is of probes on features; score it with divergence='renyi' and "
            "an order."
        )
    if isinstance(settings.engine, Retrain) and settings.curvature == "kfac":
        raise InputError(
            "The run is of curvature 'kfac' and engine 'retrain', whose mixtures are no Kronecker products: they have no "
            "Rényi divergences; score the data with curvature 'diag' or 'full'."
        )
    return settings


def observed(fit: Fit, orders: Sequence[float]) -> Observation:
    """What is kept of a chunk of single samples, and `renyi` (n, o)."""
    of_samples, curvature = observation(fit), fit.curvature.by(Several(tuple(map(of_order, orders))))

    def compute(removed: Removed) -> dict[str, Tensor]:
        return {**of_samples.compute(removed), RENYI: curvature.divergence(removed).total.T}

    return Observation(compute, {**of_samples.shapes, RENYI: (len(orders),)}, of_samples.gaps | {RENYI})


def _left_out(
    dataset: Dataset, settings: Settings, rows: np.ndarray, orders: Sequence[float], stages: Stages, keep: Keep | None
) -> np.ndarray:
    """Divergences (n, o) of samples `rows` (n,), means over the seeds."""
    require_device(settings.execution.device)
    if isinstance(settings.engine, Retrain):
        settings = replace(settings, engine=replace(settings.engine, every=None))
    dataset, engine = weighed(dataset, settings), make_engine(settings)
    plan = engine.plan(work_of(dataset, len(rows)))
    if keep is not None:
        keep.require_room(plan.kept_bytes + 8 * len(orders) * len(rows), 0)
    observe, begun = partial(observed, orders=orders), identity(dataset, settings, rows) | {"orders": list(orders)}
    with open_backend(settings.execution) as backend:
        checkpoint = open_checkpoint(keep, begun, engine.kept(plan))
        by_seed = leave_samples_out(dataset, settings, rows, observe, checkpoint, stages, backend).by_seed
    found = np.mean([arrays[RENYI] for arrays in by_seed], 0)
    if not (found >= 0).all():
        bad = int((~(found >= 0)).any(1).sum())
        raise InputError(f"{bad} samples have no Rényi divergences in float64; take smaller orders.")
    return found


def _column(order: float) -> Column:
    help = f"Rényi divergence of order {order:g}, D(with ‖ without), nats; infinite where it has no value"
    return Column(column_of(order), f"Rényi divergence, order {order:g}", help, RENYI, ".2e", "nats", "high", f"D of {order:g}")
