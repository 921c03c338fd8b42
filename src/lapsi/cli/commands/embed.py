"""`lapsi embed`: images or texts to features, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.generated import Options, with_options
from lapsi.cli.options import (
    EMBED_COLUMNS,
    EMBED_DATA,
    EMBED_EXTRACTOR,
    MACHINES,
    SOURCE_HELP,
    AsJson,
    Force,
    Quiet,
    one_source,
    to_embed_spec,
)
from lapsi.data.readers.names import require_source
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free


@with_options(EMBED_COLUMNS, EMBED_EXTRACTOR, EMBED_DATA, MACHINES)
def embed(
    source: Annotated[list[str], typer.Argument(help=SOURCE_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", "--to", help="File to write: .safetensors.")],
    options: Options,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make features of images or texts with a frozen pretrained model, and write them with labels to one file.

    What was embedded before comes from the cache, so an interrupted call goes on where it stopped.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output.name} is a file of kind {output.suffix or '(none)'!r}; expected .safetensors.")
    require_file_free(output, force)
    asked = {"source": one_source(source), **options}
    require_source(to_embed_spec(asked).source)
    MACHINES.make(asked)
    from lapsi.cli import embed as work

    work.embed(asked, output, force, quiet, as_json)
