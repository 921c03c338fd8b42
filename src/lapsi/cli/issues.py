"""`lapsi issues`: likely errors of the targets of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from lapsi.analysis.issues.base import Issues
from lapsi.analysis.label_issues import Found, LabelIssues, label_issues
from lapsi.cli.show import caution_line, samples_table, to_json, to_records
from lapsi.cli.terminal import say, told
from lapsi.data.writing import write_table
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores


def issues(run: Path, top: int, threshold: float | None, to: Path | None, force: bool, as_json: bool) -> None:
    """Shows the likely errors of a run, and writes the whole ranking to `to`."""
    scores = Scores.load(run)
    found = label_issues(scores, threshold)
    if to is not None:
        write_file(to, lambda path: write_table(found.table, path), force)
    with told(to):
        if as_json:
            print(json.dumps(_as_dict(found, top), indent=2, default=to_json))
            return
        _print(found, top, Console())
        if to is not None:
            doubtful = f"the first {found.n_flagged:,} are doubtful (column flagged)"
            say(f"All {len(found.table):,} {found.kind.plural} to {to}, least trusted first: {doubtful}.")


def _as_dict(found: LabelIssues, top: int) -> dict[str, Any]:
    truth = None if found.found is None else to_records(pd.DataFrame([asdict(found.found)]))[0]
    ranked = to_records(found.table.head(top))
    told = {"n_flagged": found.n_flagged, "threshold": found.threshold, "cautions": found.cautions, "truth": truth}
    return told | {"most_likely_errors": ranked}


def _print(found: LabelIssues, top: int, console: Console) -> None:
    kind = found.kind
    console.print(f"[bold]{found.counted}:[/] {found.why}")
    for each in found.cautions:
        console.print(caution_line(each))
    console.print(samples_table(found.title, found.columns, found.table.head(top)))
    if found.found is not None:
        console.print(_truth_table(found.found, kind))


def _truth_table(found: Found, kind: Issues) -> Table:
    table = Table(
        title=f"Against {found.truth}: {found.n_errors:,} {kind.plural} differ", title_justify="left", show_header=False
    )
    table.add_row("AUROC", f"{found.auroc:.4f}")
    table.add_row("average precision", f"{found.average_precision:.4f}")
    table.add_row(
        f"right among the first {found.n_errors:,}", f"{found.at_noise_rate:.1%} (precision and recall at the noise rate)"
    )
    table.add_row("flagged: precision, recall", f"{found.precision:.1%}, {found.recall:.1%}")
    table.add_row(kind.better, f"{found.suggestions_right:.1%}")
    return table
