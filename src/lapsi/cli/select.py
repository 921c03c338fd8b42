"""`lapsi select`: index files of subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from lapsi.analysis.subsets import PLACES, select_subset
from lapsi.cli.options import Force, Quiet, Run
from lapsi.errors import InputError
from lapsi.io.features import write_table
from lapsi.runs import write_file
from lapsi.scores import Scores


def select(
    run: Run,
    strategy: Annotated[str, typer.Option(metavar="|".join(PLACES), help="Which part of each class's ranking by LSI.")],
    fraction: Annotated[float, typer.Option(help="Share of each class to take, or with drop-… to leave out.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write: row numbers (.npy, .txt), or ids and scores (.csv, .parquet, .json)."
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Choose a subset to train on, stratified by class, and write its index."""
    scores = Scores.load(run)
    chosen = select_subset(scores, strategy, fraction)
    whole = len(scores) == scores.provenance.n_samples
    if output.suffix in (".npy", ".txt"):
        if not whole:
            raise InputError(
                f"{len(scores)} of {scores.provenance.n_samples} samples were scored, so row numbers would not be those of the "
                "data; write ids to .csv."
            )
        write_file(output, lambda path: _write_rows(chosen, path), force)
    else:
        rows = scores.table.iloc[chosen].assign(row=chosen)[
            ["id", *(["row"] if whole else []), "label", "lsi", *scores.carried]
        ]
        write_file(output, lambda path: write_table(rows, path), force)
    if not quiet:
        text = f"{len(chosen):,} of {len(scores):,} samples ({strategy}, {fraction:g}) to {output}"
        Console().print(text, soft_wrap=True, markup=False)


def _write_rows(rows: np.ndarray, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, rows, allow_pickle=False)
    else:
        np.savetxt(path, rows, fmt="%d")
