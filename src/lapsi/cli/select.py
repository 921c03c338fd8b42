"""`lapsi select`: index files of subsets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lapsi.analysis.subsets import select_subset
from lapsi.cli.terminal import say, told
from lapsi.data.writing import write_table
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores


def select(run: Path, strategy: str, fraction: float, output: Path, force: bool, quiet: bool) -> None:
    """Writes the index of a subset to train on."""
    scores = Scores.load(run)
    chosen = select_subset(scores, strategy, fraction)
    rows = scores.table.iloc[chosen].sort_values("row")[["id", "row", "label", "lsi", *scores.carried]]
    if output.suffix in (".npy", ".txt"):
        write_file(output, lambda path: _write_rows(rows["row"].to_numpy(), path), force)
    else:
        write_file(output, lambda path: write_table(rows, path), force)
    if not quiet:
        with told(output):
            say(f"{len(chosen):,} of {len(scores):,} samples ({strategy}, {_in_words(scores, strategy, fraction)}) to {output}")


def _in_words(scores: Scores, strategy: str, fraction: float) -> str:
    """Of what the fraction is."""
    evidence = scores.evidence
    if strategy == "balanced":
        return f"{fraction:g} of all, as many of each part" if not evidence.overlap else f"{fraction:g} of all"
    parts = [name for name, rows in evidence.parts(scores.table, scores.outputs) if len(rows)]
    return f"{fraction:g}" if evidence.overlap else f"{fraction:g} of each of {len(parts):,} {evidence.rows_are}, rounded down"


def _write_rows(rows: np.ndarray, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, rows, allow_pickle=False)
    else:
        np.savetxt(path, rows, fmt="%d")
