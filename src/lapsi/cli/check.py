"""The curator's other questions, asked of a run and its data, which are opened again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table

from lapsi.analysis.checks.datalab import require_datalab
from lapsi.analysis.checks.told import Record, record_of
from lapsi.checking import add_checks, features_of
from lapsi.cli.data import reopen_features
from lapsi.cli.listing import Name, telling_words
from lapsi.cli.measure import save_beside
from lapsi.cli.terminal import cell, plain, say, told
from lapsi.execution.progress import Stages
from lapsi.results.run_directory import require_free
from lapsi.results.scores import Scores
from lapsi.settings.task import PAIRS

ASKED = 30  # cells of a question


def check(run: Path, to: Path | None, force: bool, quiet: bool, as_json: bool) -> None:
    """Asks all questions that the run can be asked, and writes the run anew, whole or not at all."""
    if to is not None:
        require_free(to, force)
    require_datalab()
    stages, scores = Stages(not quiet and not as_json), Scores.load(run)
    reason = without_features(scores)
    if reason or scores.features is not None:
        features, is_table = scores.features, False
    else:
        features, is_table = features_of(scores, reopen_features(scores, stages))
    checked = add_checks(scores, features, is_table, reason, stages)
    path = save_beside(checked, run, to or run, force or to is None)
    record = record_of(checked)
    assert record is not None
    with told(path):
        if as_json:
            print(json.dumps(asdict(record), indent=2))
        elif not quiet:
            print_findings(record, len(checked), Console())
            say(f"Run: {path}", error=True)


def without_features(scores: Scores) -> str:
    """Why a run has no features, kept with it or to open again; "" where it has."""
    if scores.features is not None:
        return ""
    if scores.provenance.factory or "network" in scores.provenance.settings:
        return "the run is of a network, and keeps no features of its samples"
    if scores.task == PAIRS:
        return "the run is of pairs, which have no features of their own"
    return "" if scores.provenance.data else "the run was saved from Python, where lapsi.check(scores, X) asks it"


def print_findings(record: Record, n_samples: int, console: Console) -> None:
    """A row a question with its column, and beside it what was found, the worst first; what could not be asked below."""
    table = Table(title=f"{n_samples:,} samples, checked", title_justify="left", show_lines=True)
    table.add_column("question, column", max_width=ASKED)
    table.add_column("found, the worst first")
    for each in record.findings:
        asked = Group(cell(each.question), cell(each.columns[0], "dim"))
        examples = list(map(plain, each.examples))
        cut = telling_words(examples)
        found = Group(cell(each.said or "none"), *(Name(example, cut) for example in examples))
        table.add_row(asked, found, style="" if each.found else "dim")
    console.print(table)
    for name, why in record.left_out.items():
        say(f"Left out: {name}: {why}.", "yellow")
