"""What the divergences of single samples tell of privacy, as tables, pictures and columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from lapsi import plots
from lapsi.analysis.privacy import NO_GUARANTEE, by_order, by_training, column_of, training_in_words
from lapsi.cli.data import reopen_features
from lapsi.cli.measure import save_beside
from lapsi.cli.show import to_json, to_records
from lapsi.cli.terminal import cell, say, told
from lapsi.cli.unfinished import until_whole
from lapsi.errors import InputError
from lapsi.execution.files import write_file
from lapsi.execution.progress import Stages
from lapsi.measures.renyi import ORDERS, add_orders, checked_orders, required_settings
from lapsi.plots.style import FORMATS
from lapsi.results.run_directory import require_free
from lapsi.results.scores import Scores

SHOWN = ("q05", "median", "q95")
CALLED = {"q05": "5 %", "q95": "95 %", "max": "largest"}


@dataclass(frozen=True, slots=True)
class Way:
    """How it is told.

    Attributes:
        force: whether files may be overwritten.
        quiet, as_json: how it is shown.
    """

    force: bool
    quiet: bool
    as_json: bool


def one(run: Path, orders: Sequence[float] | None, to: Path | None, output: Path | None, way: Way) -> None:
    """Rényi divergences of the samples of a run, of some orders."""
    if to is not None:
        require_free(to, way.force)
    _require_picture(output)
    asked, scores = checked_orders(ORDERS if orders is None else orders), Scores.load(run)
    required_settings(scores)
    with nullcontext() if to is None else until_whole(to, way.force, "lapsi privacy") as keep:
        if any(column_of(order) not in scores.table for order in asked):
            stages = Stages(not way.quiet and not way.as_json)
            scores = add_orders(scores, reopen_features(scores, stages), asked, stages, keep)
        if to is not None:
            save_beside(scores, run, to, way.force)
    table = by_order(scores, asked)
    if output is not None:
        _draw(plots.by_order(scores, asked), output, way)
    shown = {"order": [f"{order:g}" for order in table.index], **_nats(table, (*SHOWN, "max"))}
    shown["infinite"] = [f"{count:,}" if count else "" for count in table["n_infinite"]]
    with told(to or output):
        _tell(f"Rényi divergence of each of {len(scores):,} samples by order, nats", shown, table, way)


def several(runs: Sequence[Path], output: Path | None, way: Way) -> None:
    """LSI of runs that were trained differently."""
    _require_picture(output)
    scores = {str(run): Scores.load(run) for run in runs}
    table = by_training(scores)
    if output is not None:
        _draw(plots.by_training(scores), output, way)
    shown = {"training": [training_in_words(row) for _, row in table.iterrows()], "run": [str(name) for name in table.index]}
    shown |= _nats(table, SHOWN) | {"95 % / 5 %": [f"{value:.3g}" for value in table["spread"]]}
    with told(output):
        _tell("LSI by training, nats", shown, table, way)


def _nats(table: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    return {CALLED.get(name, name): [f"{value:.2e}" for value in table[name]] for name in names}


def _require_picture(output: Path | None) -> None:
    if output is not None and output.suffix.lower() not in FORMATS:
        raise InputError(f"{output.name} is no picture that can be written; expected {', '.join(FORMATS)}.")


def _draw(axes: Axes, output: Path, way: Way) -> None:
    write_file(output, lambda path: plots.save(axes, path), way.force)


def _tell(title: str, shown: dict[str, list[str]], table: pd.DataFrame, way: Way) -> None:
    """A table of texts; as JSON that of numbers."""
    if way.as_json:
        print(json.dumps({"rows": to_records(table.reset_index()), "note": NO_GUARANTEE}, indent=2, default=to_json))
        return
    if not way.quiet:
        drawn = Table(title=cell(title), title_justify="left")
        for name in shown:
            is_text = name in ("training", "run")
            drawn.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
        for row in zip(*shown.values(), strict=True):
            drawn.add_row(*map(cell, row))
        Console().print(drawn)
    say(NO_GUARANTEE)
