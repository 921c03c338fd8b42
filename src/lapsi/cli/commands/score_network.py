"""`lapsi score-network`: the training data of a trained torch network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapsi.cli.generated import Options, with_options
from lapsi.cli.options import NETWORK, AsJson, Force, Quiet, to_network

FACTORY_HELP = (
    "MODULE:FUNCTION or FILE.py:FUNCTION: a function that returns the trained module and its training data, as a pair, as a "
    "trainer that has both, or as a mapping of arguments of lapsi.score_network."
)


@with_options(*NETWORK)
def score_network(
    factory: Annotated[str, typer.Argument(help=FACTORY_HELP)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", "--to", help="Run directory to write.")],
    options: Options,
    pass_size: Annotated[int | None, typer.Option(help="Samples a pass; default: 64.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score the first LIMIT samples only.")] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score the training data of a trained torch network and write a run directory.

    Finished parts are kept in RUN.partial until the run is whole; the same call goes on with them after a kill.
    """
    asked = to_network(options)
    own = {"pass_size": pass_size, "limit": limit}
    from lapsi.cli import score_network as work

    work.score_network(
        factory,
        output,
        asked | {name: value for name, value in own.items() if value is not None},
        work.Call(force, quiet, as_json),
    )
