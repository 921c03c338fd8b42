"""`lapsi groups`: scores by contributor, class or any other column, and the LSI of whole groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from lapsi.analysis.groups import group_column, roll_up
from lapsi.cli.listing import Heading, Listing
from lapsi.cli.show import to_json, to_records
from lapsi.cli.terminal import told
from lapsi.data.writing import require_table_kind, write_table
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages
from lapsi.results.columns import GROUPS
from lapsi.results.scores import GROUP, Scores

NOT_A_SUM = (
    "The sum is not the LSI of the group: samples that say the same look redundant one by one and are not together. "
    "--leave-group-out computes what removing the whole group does."
)
HELD_OUT = ("held_out_accuracy", "held_out_r2")
SHOWN = ("samples", "lsi_sum", "lsi_mean", "top_decile", "doubted", "group_lsi", *HELD_OUT)


Remove = Callable[[Scores, str, Stages], pd.DataFrame]  # the LSI of removing each group of a column


def groups(run: Path, by: str | None, remove: Remove | None, to: Path | None, force: bool, quiet: bool, as_json: bool) -> None:
    """Shows the scores of a run by group, and writes the table to `to`; without `remove` no group is left out."""
    if to is not None:
        require_file_free(to, force)
        require_table_kind(to)
    scores = Scores.load(run)
    column = group_column(scores, by)
    table = roll_up(scores, column)
    checked = ""
    if remove is not None:
        removed = remove(scores, column, Stages(not quiet and not as_json))
        checked = _checked(removed.attrs.get("verification"))
        held_out = [name for name in HELD_OUT if name in removed]
        table = table.join(removed.rename(columns={"lsi": "group_lsi"})[["group_lsi", *held_out]])
    flat = table.reset_index(names=f"by_{column}" if column in table else column)  # a column may be called as what is counted
    if to is not None:
        write_file(to, lambda path: write_table(flat, path), force)
    with told(to):
        if as_json:
            print(json.dumps(to_records(flat), indent=2, default=to_json))
        elif not quiet:
            called = scores.provenance.group_name if column == GROUP else column
            _print(table, called, checked, Console())


def _checked(verification: dict[str, Any] | None) -> str:
    """How far the LSI of the groups that were checked is from that of models fitted without them from nothing."""
    if verification is None:
        return ""
    error, n_checked = verification["max_relative_error"], len(verification["rows"])
    found = f"failed ({verification['failure']})" if error is None else f"they differ by {error:.0e} at most, relative"
    return f"; group LSI of {n_checked} against models fitted without them from nothing: {found}"


def _print(table: pd.DataFrame, called: str, checked: str, console: Console) -> None:
    caption = "sum, mean: of LSI; top 10 %: share among the tenth of all samples with the largest LSI"
    caption += "; held-out: how well a model without the group predicts it" if "group_lsi" in table else ""
    names = [name for name in SHOWN if name in table and not (name == "doubted" and "group_lsi" in table)]
    headings = [Heading(called, called), *(Heading.of(GROUPS[name]) for name in names)]
    rows = [[str(group), *(GROUPS[name].show(row[name]) or "-" for name in names)] for group, row in table.iterrows()]
    console.print(Listing(f"LSI by {called}, nats, largest sum first", headings, rows, caption + checked))
    if "group_lsi" not in table:
        console.print(NOT_A_SUM)
