"""`lapsi groups`: scores by contributor, class or any other column, and the LSI of whole groups."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from lapsi.analysis.groups import group_column, roll_up
from lapsi.cli.data import reopen_features
from lapsi.cli.show import to_json, to_records
from lapsi.cli.terminal import cell, told
from lapsi.data.writing import require_table_kind, write_table
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages
from lapsi.measures.group_lsi import score_groups
from lapsi.results.columns import GROUPS
from lapsi.results.scores import Scores
from lapsi.settings.engine import Retrain
from lapsi.settings.settings import settings_from_dict

NOT_A_SUM = (
    "The sum is not the LSI of the group: samples that say the same look redundant one by one and are not together. "
    "--leave-group-out computes what removing the whole group does."
)
SHOWN = ("samples", "lsi_sum", "lsi_mean", "top_decile", "doubted", "group_lsi", "held_out_accuracy")


def groups(run: Path, by: str | None, leave_group_out: bool, to: Path | None, force: bool, quiet: bool, as_json: bool) -> None:
    """Shows the scores of a run by group, and writes the table to `to`."""
    if to is not None:
        require_file_free(to, force)
        require_table_kind(to)
    scores = Scores.load(run)
    column = group_column(scores, by)
    table = roll_up(scores, column)
    if leave_group_out:
        removed = _remove_groups(scores, column, Stages(not quiet and not as_json))
        table = table.join(removed.rename(columns={"lsi": "group_lsi"})[["group_lsi", "held_out_accuracy"]])
    flat = table.reset_index(names=f"by_{column}" if column in table else column)  # a column may be called as what is counted
    if to is not None:
        write_file(to, lambda path: write_table(flat, path), force)
    with told(to):
        if as_json:
            print(json.dumps(to_records(flat), indent=2, default=to_json))
        elif not quiet:
            _print(table, column, Console())


def _remove_groups(scores: Scores, column: str, stages: Stages) -> pd.DataFrame:
    """The groups are those of all samples that trained the probe, scored or not."""
    settings = settings_from_dict(scores.provenance.settings)
    if isinstance(settings.engine, Retrain):
        epochs = settings.engine.recipe.epochs
        made = "has hidden layers" if settings.model.hidden else f"was trained step by step ({epochs} epochs)"
        raise InputError(
            f"--leave-group-out is of the linear probe at its optimum, but the run {made}, so that its scores are of another "
            "model; score the data with --engine newton, and take the groups of that run."
        )
    dataset = reopen_features(scores, stages)
    labels = pd.Series(dataset.classes[dataset.labels], name="label")
    groups = labels if column == "label" else dataset.columns[column]
    return score_groups(dataset, groups, settings, stages)


def _print(table: pd.DataFrame, column: str, console: Console) -> None:
    shown = Table(title=cell(f"LSI by {column}, nats, largest sum first"), title_justify="left")
    shown.caption = "sum, mean: of LSI; top 10 %: share among the tenth of all samples with the largest LSI"
    shown.caption += "; held-out: accuracy of a model without the group on it" if "group_lsi" in table else ""
    shown.caption_justify = "left"
    shown.add_column(cell(column), min_width=10, overflow="fold")
    names = [name for name in SHOWN if name in table and not (name == "doubted" and "group_lsi" in table)]
    for name in names:
        shown.add_column(GROUPS[name].heading, justify="right", no_wrap=True)
    for group, row in table.iterrows():
        shown.add_row(cell(group), *(GROUPS[name].show(row[name]) or "-" for name in names))
    console.print(shown)
    if "group_lsi" not in table:
        console.print(NOT_A_SUM)
