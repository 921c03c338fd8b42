"""What retraining will cost. Coefficients were measured on two cores of an AMD EPYC."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lapsi.engines.base import Part, Plan, Work, parts_bytes, parts_of
from lapsi.errors import MemoryLimitError
from lapsi.execution.cost import GIB, LIBRARIES_BYTES, Cost, memory_limit
from lapsi.models.mlp import Mlp
from lapsi.problem.of_dataset import model_of
from lapsi.settings.engine import Retrain
from lapsi.settings.settings import Settings

WORKING_BYTES = 256 * 2**20
LEAST_MODELS, MOST_MODELS = 64, 256  # trained at once: enough for large products, few enough to lose at a kill
CHUNK_FLOP = 1e9
CHECKED_SHARE = 0.05


def n_checks(verify: int, n_units: int) -> int:
    """How many of the retrained units are checked: `verify`, but at most 2 or a twentieth of them."""
    return min(verify, n_units, max(2, round(CHECKED_SHARE * n_units)))


def spec_of(settings: Settings) -> Retrain:
    """The options of the engine."""
    assert isinstance(settings.engine, Retrain)
    return settings.engine


def begun_with(kept: int, allowed: int, limit_bytes: int) -> int:
    """How many models at once work goes on with that was begun with `kept`, where `allowed` fit into memory now.

    Raises:
        MemoryLimitError: when they do not fit.
    """
    if kept > allowed:
        raise MemoryLimitError(
            f"The run was begun with {kept} models at once, but the memory limit of {limit_bytes / GIB:.1f} GiB "
            f"now allows {allowed}. Raise the limit, free memory, or start anew."
        )
    return kept


def training_parts(spec: Retrain, n_units: int, size: int) -> list[Part]:
    """Chunks of nearly equal size, at most `size` models each, seed by seed."""
    recipe, n_epochs = spec.recipe, len(spec.recipe.snapshots(spec.every))
    return [
        replace(part, work=recipe.epochs, seed=seed, n_epochs=n_epochs)
        for seed in range(recipe.seeds)
        for part in parts_of(f"seed{seed}", np.arange(n_units), size)
    ]


def plan_retraining(work: Work, settings: Settings) -> Plan:
    """The plan of retraining.

    Raises:
        MemoryLimitError: when it does not fit.
    """
    spec, model = spec_of(settings), model_of(work.n_features, work.n_outputs, settings.model)
    recipe, itemsize = spec.recipe, 8 if settings.execution.dtype == "float64" else 4
    data = (8 + itemsize) * work.n_samples * work.n_features
    posterior = _posterior_bytes(model, settings.curvature)
    fixed = LIBRARIES_BYTES + data + posterior + WORKING_BYTES
    widest = max(width for shape in model.shapes for width in shape)
    states = {"sgd": 1, "adam": 3, "adamw": 3}[recipe.optimizer] + 6 + 3 * (recipe.sam_radius > 0)
    per_model = itemsize * states * model.n_params + 8 * 2 * model.n_params + 16 * itemsize * widest
    limit, epoch = memory_limit(settings.execution), _epoch_flop(work, model, recipe.sam_radius > 0)
    wanted = min(work.n_units, MOST_MODELS, max(LEAST_MODELS, int(CHUNK_FLOP / epoch)))
    chunk_size = max(1, min(wanted, int((limit - fixed) / per_model)))
    snapshots = recipe.seeds * work.n_units * len(recipe.snapshots(spec.every))
    flop = {
        "retrain": recipe.seeds * work.n_units * recipe.epochs * epoch,
        "posterior": snapshots * work.n_samples * _posterior_flop(work, model, settings.curvature),
        "verify": (1 + n_checks(settings.execution.verify, work.n_units)) * recipe.epochs * epoch,
    }
    cost = Cost(fixed + chunk_size * per_model, limit, flop)
    cost.require_memory(
        f"The data take {data / GIB:.1f} GiB, the {settings.curvature} posterior of {model.n_params:,} parameters "
        f"{posterior / GIB:.1f} GiB. Raise the memory limit if the machine has more, use curvature 'diag', smaller hidden "
        "layers, or fewer features, e.g. by sklearn.decomposition.PCA."
    )
    n_parts = recipe.seeds * -(-work.n_units // chunk_size)
    notes = (("models at once", f"{chunk_size:,}, in {n_parts:,} parts that survive a kill"),)
    n_epochs = len(recipe.snapshots(spec.every))
    kept = parts_bytes(work.n_outputs, recipe.seeds * work.n_units, n_parts, model.n_params, n_epochs)
    return Plan(cost, {"chunk_size": chunk_size, "n_parts": n_parts}, notes, kept)


def _epoch_flop(work: Work, model: Mlp, two_gradients: bool) -> float:
    return 2.0 * sum(2 * out * width for out, width in model.shapes) * work.n_samples * (2 if two_gradients else 1)


def _posterior_bytes(model: Mlp, structure: str) -> int:
    factors = sum(out * out + width * width for out, width in model.shapes)
    return {"diag": 16 * model.n_params, "kfac": 96 * factors, "full": 88 * model.n_params**2}[structure]


def _posterior_flop(work: Work, model: Mlp, structure: str) -> float:
    """Flop a sample of the data."""
    n_params, k = model.n_params, work.n_outputs
    factors = sum(out * out * k + width * width for out, width in model.shapes)
    dense = 2.0 * k * n_params**2 + 10.0 * n_params**3 / work.n_samples
    return {"diag": 2.0 * n_params * (1 + k), "kfac": 4.0 * factors, "full": dense}[structure]
