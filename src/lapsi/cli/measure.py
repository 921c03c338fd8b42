"""Other measures, added to a run from its data, which are opened again."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from lapsi.analysis.agreement import rank_correlations
from lapsi.cli.compare import correlation_table
from lapsi.cli.data import reopen_features
from lapsi.cli.terminal import say
from lapsi.execution.files import MARKER
from lapsi.execution.progress import Stages
from lapsi.measuring import add_measures
from lapsi.results.run_directory import require_free
from lapsi.results.run_files import MAP, ROWS, TRAJECTORY, prediction_file
from lapsi.results.scores import Scores


def measure(run: Path, names: list[str] | None, to: Path | None, force: bool, quiet: bool) -> None:
    """Adds measures of some names, or all, and writes the run anew, whole or not at all."""
    if to is not None:
        require_free(to, force)
    stages, scores = Stages(not quiet), Scores.load(run)
    both = add_measures(scores, reopen_features(scores, stages), names, stages)
    path = save_beside(both, run, to or run, force or to is None)
    if not quiet:
        Console().print(correlation_table(rank_correlations(both)))
        say(f"Run: {path}", error=True)


def save_beside(scores: Scores, run: Path, to: Path, force: bool) -> Path:
    """Writes the scores of a run with further columns, whole or not at all, its pictures and lists beside them."""
    written = {MARKER, ROWS, TRAJECTORY, MAP, prediction_file(scores.task)}

    def beside(directory: Path) -> None:
        for file in run.iterdir():
            if file.name not in written:
                shutil.copy2(file, directory / file.name)

    return scores.save(to, force=force, beside=beside)
