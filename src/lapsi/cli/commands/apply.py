"""`lapsi apply`: a review turned into a cleaned data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.options import Force, Quiet, Run
from lapsi.results.paths import require_run


def apply(
    run: Run,
    review: Annotated[Path, typer.Option("--review", help="CSV file that the report page wrote.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", "--to", help="Cleaned data set: a file of the kind that was scored, .csv, …; or a folder."
        ),
    ],
    new_classes: Annotated[bool, typer.Option("--new-classes", help="Allow new labels that are no class of the run.")] = False,
    images: Annotated[
        str, typer.Option("--images", metavar="link|copy", help="What a folder holds: links to the images, or copies.")
    ] = "link",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the samples of a run as a review decided, and a log of what was changed; the source stays as it is.

    A table comes back with all its columns and the labels under their own name, a file of arrays, records or pairs with all
    that it holds, features whose labels are in another file with that beside them, images of a folder as such a folder.

    The log names the data set that it belongs to by the SHA-256 of its file.
    """
    require_run(run)
    from lapsi.cli import apply as work

    work.apply(run, review, output, new_classes, images, force, quiet)
