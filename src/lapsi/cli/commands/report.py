"""`lapsi report`: a run as one HTML file."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Quiet, Run
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free
from lapsi.results.paths import require_run

LAYOUTS = ("pca", "classes", "umap")


def report(
    run: Run,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", "--to", help="HTML file to write; default: RUN.html.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="|".join(LAYOUTS),
            help="How the features are laid out in the plane; classes: as these are farthest apart.",
        ),
    ] = "pca",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a run as one HTML file to look at, filter and review; it needs no server and no network."""
    require_run(run)
    place = Path(os.path.abspath(run))
    target = place.with_name(f"{place.name}.html") if output is None else output
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{target.name} is a file of kind {target.suffix or '(none)'!r}; expected .html.")
    require_file_free(target, force)
    if layout not in LAYOUTS:
        raise InputError(f"--map is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    if layout == "umap" and "umap" not in sys.modules and find_spec("umap") is None:
        raise InputError("--map umap needs the extra 'umap', which is not installed: pip install 'lapsi[umap]'.")
    from lapsi.cli import report as work

    work.report(run, target, layout, force, quiet)
