"""Other measures, added to a run from its data, which are opened again."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from lapsi.analysis.agreement import rank_correlations
from lapsi.cli.compare import correlation_table
from lapsi.cli.data import reopen_features
from lapsi.cli.terminal import say
from lapsi.errors import RunExistsError
from lapsi.execution.files import MARKER
from lapsi.execution.progress import Stages
from lapsi.measuring import add_measures
from lapsi.results.record import StoredFile
from lapsi.results.run_directory import require_free
from lapsi.results.run_files import MAP, ROWS, TRAJECTORY, fingerprint, prediction_file
from lapsi.results.scores import Scores


def measure(run: Path, names: list[str] | None, to: Path | None, force: bool, quiet: bool) -> None:
    """Adds measures of some names, or all, and writes the run anew, whole or not at all."""
    require_free(to or run, force or to is None)
    before = fingerprint(run / MARKER) if to is None else None
    stages, scores = Stages(not quiet), Scores.load(run)
    both = add_measures(scores, reopen_features(scores, stages), names, stages)
    path = save_beside(both, run, to or run, force or to is None, before)
    if not quiet:
        Console().print(correlation_table(rank_correlations(both)))
        say(f"Run: {path}", error=True)


def save_beside(scores: Scores, run: Path, to: Path, force: bool, before: StoredFile | None = None) -> Path:
    """Writes the scores of a run with further columns, whole or not at all, its pictures and lists beside them.

    Args:
        scores, run, to, force: what is written, from which run, where, and over what is there.
        before: what made the directory that run, where it must still be the same.

    Raises:
        RunExistsError: when it is another by now, whose columns would be lost.
    """
    written = {MARKER, ROWS, TRAJECTORY, MAP, prediction_file(scores.task)}

    def beside(directory: Path) -> None:
        if before is not None and fingerprint(run / MARKER) != before:
            raise RunExistsError(f"{run} was written by another process in the meantime; measure it again.")
        for file in run.iterdir():
            if file.name not in written and file.is_file():
                shutil.copy2(file, directory / file.name)

    return scores.save(to, force=force, beside=beside)
