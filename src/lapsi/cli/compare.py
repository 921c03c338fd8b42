"""`lapsi compare`: how the agreement of two runs looks in a terminal, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapsi.analysis.agreement import Agreement, rank_correlations
from lapsi.analysis.agreement import compare as agreement_of
from lapsi.cli.listing import Heading, Listing
from lapsi.cli.show import to_json, to_records
from lapsi.cli.terminal import cell, say
from lapsi.results.scores import Scores

LSI_OF, RANK_OF = ("lsi_a", "lsi_b"), ("rank_a", "rank_b")


def compare(run_a: Path, run_b: Path, extremes: int, as_json: bool) -> None:
    """Shows how far two runs agree."""
    agreement = agreement_of(Scores.load(run_a), Scores.load(run_b))
    if as_json:
        print(json.dumps(_as_dict(agreement, extremes), indent=2, default=to_json))
    else:
        _print(agreement, str(run_a), str(run_b), extremes, Console())


def compare_measures(run: Path, as_json: bool) -> None:
    """Shows how the measures of a run rank its samples."""
    correlations = rank_correlations(Scores.load(run))
    if as_json:
        print(correlations.to_json())
    else:
        Console().print(correlation_table(correlations))


def correlation_table(correlations: pd.DataFrame) -> Table:
    """A square of rank correlations (m, m)."""
    table = Table(title="Rank correlations (Spearman)", title_justify="left")
    table.add_column("")
    for name in correlations:
        table.add_column(str(name), justify="right")
    for name, row in correlations.iterrows():
        table.add_row(str(name), *(f"{value:+.2f}" for value in row))
    return table


def _print(agreement: Agreement, name_a: str, name_b: str, n_extremes: int, console: Console) -> None:
    """How far two runs agree."""
    number = (f"{agreement.n_common:,} samples", "bold")
    console.print(Text.assemble(number, " in both ", cell(name_a), " (a) and ", cell(name_b), " (b)"))
    if agreement.same_data is False:
        say("The data sets differ (features, targets or ids).", "yellow")
    if agreement.regularization:
        pairs = (f"{name} {_shown(a)} (a), {_shown(b)} (b)" for name, (a, b) in agreement.regularization.items())
        say(f"The regularisation differs, so these are scores of two models: {'; '.join(pairs)}.", "yellow")
    table = Table(title="Agreement of LSI", title_justify="left", show_header=False)
    table.add_row("Spearman", f"{agreement.spearman:.5f}")
    table.add_row("Pearson", f"{agreement.pearson:.5f}")
    table.add_row("Pearson of ln(LSI)", f"{agreement.pearson_log:.5f}")
    for fraction, share in agreement.top_shared.items():
        table.add_row(f"top {fraction:.0%} in common", f"{share:.1%}")
    console.print(table)
    differing = _differing(agreement, n_extremes)
    if n_extremes > 0 and len(differing) == 0:
        console.print("Every sample has the same rank in both runs.")
        return
    headings = [Heading("id", "id"), Heading("label", agreement.target)]
    headings += [Heading(name, name, is_number=True) for name in ("LSI a", "LSI b", "rank a", "rank b")]
    rows = [
        [str(row["id"]), str(row["label"]), *(f"{row[name]:.2e}" for name in LSI_OF), *(f"{row[name]:,}" for name in RANK_OF)]
        for row in to_records(differing)
    ]
    console.print(Listing("Samples whose rank differs most", headings, rows))


def _differing(agreement: Agreement, n_extremes: int) -> pd.DataFrame:
    """The first of the samples whose rank differs."""
    table = agreement.table
    return table[table["rank_a"] != table["rank_b"]].head(n_extremes)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _as_dict(agreement: Agreement, n_extremes: int) -> dict[str, Any]:
    """What `_print` shows, as plain JSON values."""
    numbers = {name: getattr(agreement, name) for name in ("spearman", "pearson", "pearson_log")}
    return {
        "n_common": agreement.n_common,
        "same_data": agreement.same_data,
        "regularization": {name: list(pair) for name, pair in agreement.regularization.items()},
        **{name: None if np.isnan(value) else value for name, value in numbers.items()},
        "top_shared": {f"{fraction:.0%}": share for fraction, share in agreement.top_shared.items()},
        "differ_most": to_records(_differing(agreement, n_extremes)),
    }
