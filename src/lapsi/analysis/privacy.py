"""What the divergences of single samples tell of privacy: per instance, on one data set, after the fact (paper, Appendix H)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lapsi.errors import InputError
from lapsi.results.scores import Scores
from lapsi.settings.engine import Retrain
from lapsi.settings.stored import stored_settings

NO_GUARANTEE = (
    "This tells of these samples, these data and this training; it bounds nothing for others and is no guarantee of "
    "differential privacy."
)
OF_ORDER = "renyi_"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def column_of(order: float) -> str:
    """The name of the column of a Rényi divergence."""
    return f"{OF_ORDER}{order:g}"


def orders_of(scores: Scores) -> list[float]:
    """Of which orders a run has columns, the lowest first."""
    return sorted(float(name.removeprefix(OF_ORDER)) for name in map(str, scores.table) if name.startswith(OF_ORDER))


def by_order(scores: Scores, orders: Sequence[float] | None = None) -> pd.DataFrame:
    """Rényi divergences of the samples of a run, nats: one row an order (its index), of all that there are or of some.

    Columns: quantiles q05, q25, median, q75, q95 and max over the samples, infinite where so many are, and `n_infinite`.

    Raises:
        InputError: when the run has no such columns.
    """
    known = orders_of(scores)
    orders = known if orders is None else [order for order in known if order in orders]
    if not orders:
        raise InputError("The run has no Rényi divergences of its samples; add some with lapsi.privacy.")
    values = {order: scores.table[column_of(order)].to_numpy() for order in orders}
    rows = [_quantiles(each) | {"max": each.max(), "n_infinite": int(np.isinf(each).sum())} for each in values.values()]
    return pd.DataFrame(rows, index=pd.Index(orders, name="order"))


def by_training(runs: Mapping[str, Scores]) -> pd.DataFrame:
    """LSI of several runs, nats: one row a run (its index, by name), the smallest clip norm first, those without one last.

    Columns: engine, clip_norm and noise_multiplier of its recipe (NaN where gradients are not clipped), samples, quantiles
    of LSI, and `spread`, q95/q05: 1 where all samples are worth the same.

    Raises:
        InputError: when the runs tell different divergences.
    """
    orders = {name: stored_settings(run.provenance.settings).order for name, run in runs.items()}
    if len(set(orders.values())) > 1:
        told = ", ".join(f"{order:g} of {name}" for name, order in orders.items())
        raise InputError(f"The runs tell divergences of different orders ({told}); compare runs of one.")
    rows = []
    for run in runs.values():
        clip_norm, noise_multiplier = _recipe_of(run)
        quantiles = _quantiles(run.lsi)
        spread = quantiles["q95"] / quantiles["q05"] if quantiles["q05"] > 0 else np.inf
        recipe = {"clip_norm": clip_norm, "noise_multiplier": noise_multiplier}
        rows.append({"engine": run.provenance.engine, **recipe, "samples": len(run), **quantiles, "spread": spread})
    table = pd.DataFrame(rows, index=pd.Index(runs, name="run"))
    return table.sort_values(["clip_norm", "noise_multiplier"], na_position="last", kind="stable")


def training_in_words(row: pd.Series) -> str:
    """Clip norm and noise multiplier of a row of `by_training`, where it was trained by a recipe."""
    if row["engine"] != Retrain.name:
        return "closed form"
    if np.isnan(row["clip_norm"]):
        return "not clipped"
    return f"clip norm {row['clip_norm']:g}, noise {row['noise_multiplier']:g}"


def _recipe_of(scores: Scores) -> tuple[float, float]:
    engine = stored_settings(scores.provenance.settings).engine
    if not isinstance(engine, Retrain) or engine.recipe.clip_norm is None:
        return np.nan, np.nan
    return engine.recipe.clip_norm, engine.recipe.noise_multiplier


def _quantiles(values: np.ndarray) -> dict[str, float]:
    found = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, found.tolist(), strict=True))
