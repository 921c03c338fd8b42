"""Laplace Sample Information of single samples: what is kept of every removal, and the columns that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lapsi.curvature.base import REMOVAL_FORM
from lapsi.engines.base import Fit
from lapsi.engines.evaluate import EPOCHS, LSI_CURVATURE, LSI_MEAN, Observation
from lapsi.execution.checkpoint import Arrays
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, CORRECTED, DRAW_ERROR, LSI_IMAGE, LSI_TEXT, REFINED, TRAINED, Removed
from lapsi.results.columns import Column, find_column
from lapsi.settings.engine import AUTO, EngineSpec, Local, Newton

REFINEMENTS = (CLOSED_FORM, CORRECTED, REFINED, CONVERGED, TRAINED)
PER_SAMPLE = ("train_loss", "shift_norm")


def observation(fit: Fit) -> Observation:
    """What is kept of a chunk of single samples: their outputs without and with them, the shift, and how it was made."""
    problem = fit.problem

    def compute(removed: Removed) -> dict[str, Tensor]:
        rows = removed.units[:, 0]
        before = problem.outputs(removed.params, rows)
        return {
            "outputs": removed.outputs[:, 0],
            "train_loss": problem.losses(before, rows),
            "shift_norm": removed.shift.flatten(1).norm(dim=1).double(),
            "refinement": torch.full((len(rows),), REFINEMENTS.index(removed.refinement), dtype=torch.uint8),
            "lsi_error": 2 * removed.remaining,
            **removed.diagnostics,
        }

    shapes: dict[str, tuple[int, ...]] = {"outputs": (problem.n_outputs,)}
    shapes |= dict.fromkeys((*PER_SAMPLE, "refinement", "lsi_error"), ())
    return Observation(compute, shapes, frozenset({"lsi_error"}))


def lsi_columns(by_seed: list[Arrays], form: str) -> dict[str, np.ndarray]:
    """Columns (n,) of the scores: means over the seeds, `lsi_std` over several of them, and how each row was made.

    `form`: of the curvature of settled removals; the removal form is told in every row.
    """
    columns = {name: np.mean([arrays[name][-1] for arrays in by_seed], 0) for name in (LSI_MEAN, LSI_CURVATURE)}
    columns["lsi"] = columns[LSI_MEAN] + columns[LSI_CURVATURE]
    columns["shift_norm"] = np.mean([arrays["shift_norm"] for arrays in by_seed], 0)
    if len(by_seed) > 1:
        columns["lsi_std"] = _lsi(by_seed)[:, -1].std(0, ddof=1)
    first = by_seed[0]
    if "leverage" in first:
        columns["leverage"] = first["leverage"]
    if DRAW_ERROR in first:
        columns[DRAW_ERROR] = first[DRAW_ERROR]
    for name in (LSI_IMAGE, LSI_TEXT):
        if name in first:
            columns[name] = np.mean([arrays[name] for arrays in by_seed], 0)
    ending = f", {REMOVAL_FORM}" if form == REMOVAL_FORM else ""
    columns["refinement"] = np.array([name + ending for name in REFINEMENTS], dtype=object)[first["refinement"]]
    if form != REMOVAL_FORM and not np.isnan(first["lsi_error"]).all():  # what that form leaves out is not estimated
        columns["lsi_error"] = first["lsi_error"]
    return columns


def lsi_described(order: float, of_targets: Mapping[str, Column]) -> tuple[Column, ...]:
    """What `lsi` is where it is no KL but the Rényi divergence of an order; `of_targets`: the columns of such targets."""
    if order == 1:
        return ()
    column, name = of_targets.get("lsi") or find_column("lsi"), f"Rényi divergence of order {order:g}"
    ends = column.help.partition("; ")[2]
    text = f"{name}, D(with ‖ without), nats, ≥ 0, infinite where it has no value; {ends}"
    return (replace(column, title=f"LSI, Rényi of order {order:g}", help=text, short="LSI"),)


def rows_above(engine: EngineSpec, first: Arrays) -> dict[str, int]:
    """`n_above`: how many rows are estimated above the tolerance; nothing where none was asked for."""
    if not isinstance(engine, Newton | Local) or (isinstance(engine, Newton) and engine.refine != AUTO):
        return {}
    return {"n_above": int((first["lsi_error"] > engine.tolerance).sum())}


def lsi_trajectory(by_seed: list[Arrays]) -> pd.DataFrame:
    """One row a sample and epoch, means over the seeds; `position` counts the samples."""
    lsi, epochs = _lsi(by_seed), by_seed[0][EPOCHS]
    n_epochs, n_rows = lsi.shape[1:]
    columns = {name: np.mean([arrays[name] for arrays in by_seed], 0).T.ravel() for name in (LSI_MEAN, LSI_CURVATURE)}
    table = pd.DataFrame(
        {
            "position": np.repeat(np.arange(n_rows), n_epochs),
            "epoch": np.tile(epochs, n_rows),
            "lsi": columns[LSI_MEAN] + columns[LSI_CURVATURE],
            **columns,
        }
    )
    if len(lsi) > 1:
        table["lsi_std"] = lsi.std(0, ddof=1).T.ravel()
    return table


def _lsi(by_seed: list[Arrays]) -> np.ndarray:
    """(S, E, n)."""
    return np.stack([arrays[LSI_MEAN] + arrays[LSI_CURVATURE] for arrays in by_seed])
