"""`lapsi issues`: likely label errors of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from lapsi.analysis.label_issues import SHOWN, Found, LabelIssues, label_issues
from lapsi.cli.options import AsJson, Force, Run
from lapsi.cli.show import samples_table, to_json, to_records
from lapsi.data.readers.arrays import write_table
from lapsi.execution.files import write_file
from lapsi.results.columns import COLUMNS, ISSUES
from lapsi.results.scores import Scores


def issues(
    run: Run,
    top: Annotated[int, typer.Option("--top", min=0, help="Labels shown.")] = 20,
    threshold: Annotated[
        float | None, typer.Option(help="Flag labels of lower quality. Default: 1 / number of classes, the chance of guessing.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Also write all ranked samples: .csv, .parquet or .json.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Rank likely label errors by what models that never saw the sample say, with the label they suggest.

    Where the run knows the truth (labels changed on purpose, or second labels), how well the errors are found.
    """
    scores = Scores.load(run)
    found = label_issues(scores, threshold)
    if to is not None:
        write_file(to, lambda path: write_table(found.table, path), force)
    if as_json:
        print(json.dumps(_as_dict(found, top), indent=2, default=to_json))
        return
    console = Console()
    _print(found, len(scores.classes), top, console)
    if to is not None:
        console.print(f"{len(found.table):,} rows to {to}", soft_wrap=True, markup=False)


def _as_dict(found: LabelIssues, top: int) -> dict[str, Any]:
    truth = None if found.found is None else to_records(pd.DataFrame([asdict(found.found)]))[0]
    ranked = to_records(found.table.head(top))
    return {"n_flagged": found.n_flagged, "threshold": found.threshold, "truth": truth, "most_likely_errors": ranked}


def _print(found: LabelIssues, n_classes: int, top: int, console: Console) -> None:
    why = "less than a blind guess" if found.threshold == 1 / n_classes else "the threshold that was asked for"
    console.print(
        f"[bold]{found.n_flagged:,} of {len(found.table):,} labels are doubtful:[/] a model that never saw the sample gives "
        f"its label a probability below {found.threshold:.3g} ({why})."
    )
    columns = [(COLUMNS | ISSUES)[name] for name in SHOWN]
    console.print(samples_table("Most likely label errors", columns, found.table.head(top)))
    if found.found is not None:
        console.print(_truth_table(found.found))


def _truth_table(found: Found) -> Table:
    table = Table(title=f"Against {found.truth}: {found.n_errors:,} labels differ", title_justify="left", show_header=False)
    table.add_row("AUROC", f"{found.auroc:.4f}")
    table.add_row("average precision", f"{found.average_precision:.4f}")
    table.add_row(
        f"right among the first {found.n_errors:,}", f"{found.at_noise_rate:.1%} (precision and recall at the noise rate)"
    )
    table.add_row("flagged: precision, recall", f"{found.precision:.1%}, {found.recall:.1%}")
    table.add_row("suggestions right, of flagged errors", f"{found.suggestions_right:.1%}")
    return table
