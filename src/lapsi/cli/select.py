"""`lapsi select`: index files of subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lapsi.analysis.subsets import PLACES, select_subset
from lapsi.cli.options import Force, Quiet, Run
from lapsi.cli.terminal import say, told
from lapsi.data.readers.arrays import write_table
from lapsi.execution.files import write_file
from lapsi.results.scores import Scores


def select(
    run: Run,
    strategy: Annotated[str, typer.Option(metavar="|".join(PLACES), help="Which part of each class's ranking by LSI.")],
    fraction: Annotated[float, typer.Option(help="Share of each class to take, or with drop-… to leave out.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write: rows of the source (.npy, .txt), or ids, rows and scores (.csv, .parquet, .json).",
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Choose a subset to train on, stratified by class, and write its index."""
    scores = Scores.load(run)
    chosen = select_subset(scores, strategy, fraction)
    rows = scores.table.iloc[chosen].sort_values("row")[["id", "row", "label", "lsi", *scores.carried]]
    if output.suffix in (".npy", ".txt"):
        write_file(output, lambda path: _write_rows(rows["row"].to_numpy(), path), force)
    else:
        write_file(output, lambda path: write_table(rows, path), force)
    if not quiet:
        with told(output):
            say(f"{len(chosen):,} of {len(scores):,} samples ({strategy}, {fraction:g}) to {output}")


def _write_rows(rows: np.ndarray, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, rows, allow_pickle=False)
    else:
        np.savetxt(path, rows, fmt="%d")
