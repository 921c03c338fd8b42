"""`lapsi groups`: scores by contributor, class or any other column, and the LSI of whole groups."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapsi.analysis.groups import group_column, roll_up
from lapsi.cli.data import reopen_features
from lapsi.cli.options import AsJson, Force, Quiet, Run
from lapsi.cli.show import to_json, to_records
from lapsi.data.readers.arrays import require_table_kind, write_table
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages
from lapsi.measures.group_lsi import score_groups
from lapsi.results.columns import GROUPS
from lapsi.results.scores import Scores
from lapsi.settings.engine import Newton
from lapsi.settings.settings import settings_from_dict

NOT_A_SUM = (
    "The sum is not the LSI of the group: samples that say the same look redundant one by one and are not together. "
    "--leave-group-out computes what removing the whole group does."
)
SHOWN = ("samples", "lsi_sum", "lsi_mean", "top_decile", "doubted", "group_lsi", "held_out_accuracy")


def groups(
    run: Run,
    by: Annotated[str | None, typer.Option(help="Column to group by. Default: group where the run has it, else label.")] = None,
    leave_group_out: Annotated[
        bool, typer.Option("--leave-group-out", help="Also the exact LSI of removing each whole group (linear probe).")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Also write the table: .csv, .parquet or .json.")] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Roll the scores of a run up by contributor, class or any other column."""
    if to is not None:
        require_file_free(to, force)
        require_table_kind(to)
    scores = Scores.load(run)
    column = group_column(scores, by)
    table = roll_up(scores, column)
    if leave_group_out:
        removed = _remove_groups(scores, column, Stages(not quiet and not as_json))
        table = table.join(removed.rename(columns={"lsi": "group_lsi"})[["group_lsi", "held_out_accuracy"]])
    if to is not None:
        write_file(to, lambda path: write_table(table.reset_index(), path), force)
    if as_json:
        print(json.dumps(to_records(table.reset_index()), indent=2, default=to_json))
    elif not quiet:
        _print(table, column, Console())


def _remove_groups(scores: Scores, column: str, stages: Stages) -> pd.DataFrame:
    """The groups are those of all samples that trained the probe, scored or not."""
    settings = scores.provenance.settings
    if settings["model"]["hidden"]:
        raise InputError(
            "--leave-group-out is exact for the linear probe, but the run has hidden layers; score without --hidden."
        )
    dataset = reopen_features(scores, stages)
    labels = pd.Series(dataset.classes[dataset.labels], name="label")
    groups = labels if column == "label" else dataset.columns[column]
    return score_groups(dataset, groups, replace(settings_from_dict(settings), engine=Newton()), stages)


def _print(table: pd.DataFrame, column: str, console: Console) -> None:
    shown = Table(title=f"LSI by {column}, nats, largest sum first", title_justify="left")
    shown.caption = "sum, mean: of LSI; top 10 %: share among the tenth of all samples with the largest LSI"
    shown.caption += "; held-out: accuracy of a model without the group on it" if "group_lsi" in table else ""
    shown.caption_justify = "left"
    shown.add_column(column, min_width=10, overflow="fold")
    names = [name for name in SHOWN if name in table and not (name == "doubted" and "group_lsi" in table)]
    for name in names:
        shown.add_column(GROUPS[name].heading, justify="right", no_wrap=True)
    for group, row in table.iterrows():
        shown.add_row(Text(str(group)), *(GROUPS[name].show(row[name]) or "-" for name in names))
    console.print(shown)
    if "group_lsi" not in table:
        console.print(NOT_A_SUM)
