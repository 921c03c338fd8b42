"""The commands of `lapsi`."""

from __future__ import annotations

import errno
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lapsi.analysis.agreement import compare as agreement_of
from lapsi.cli.apply import apply
from lapsi.cli.demo import run_demo
from lapsi.cli.embed import embed
from lapsi.cli.export import export
from lapsi.cli.groups import groups
from lapsi.cli.issues import issues
from lapsi.cli.options import AsJson, Force, Quiet, Run
from lapsi.cli.plot import plot
from lapsi.cli.report import report
from lapsi.cli.score import score
from lapsi.cli.select import select
from lapsi.cli.show import agreement_as_dict, print_agreement, print_run, run_as_dict, tell_run, to_json
from lapsi.errors import InputError, LapsiError
from lapsi.execution.progress import Stages
from lapsi.results.run_directory import PICTURE, require_free
from lapsi.results.scores import Scores

app = typer.Typer(
    help="How much every training sample really teaches a model (Laplace Sample Information, nats).\n\n"
    "Exit codes: 0 done, 1 unexpected error, 2 wrong input or option, 3 output exists, 4 fit did not converge, "
    "5 too little memory, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Extremes = Annotated[int, typer.Option("--extremes", min=0, help="Samples shown at each end of the ranking.")]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Run directory to write.")] = Path("demo-run"),
    flip: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the labels to flip.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the flips and of the verified samples.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score scikit-learn's handwritten digits with planted label errors: tables, a run directory, a picture and a report."""
    require_free(output, force)
    result = run_demo(output, flip, seed, force, Stages(_bars(quiet, as_json)))
    planted, found = int(result.planted.sum()), result.found(0.1)
    if as_json:
        record = {**run_as_dict(result.scores, 10), "run": str(output), "planted": planted, "planted_in_top_10_percent": found}
        print(json.dumps(record, indent=2, default=to_json))
    elif not quiet:
        console = Console()
        print_run(result.scores, 10, console)
        console.print(
            f"[bold]{found['lsi']} of the {planted} planted label errors[/] stand in the top 10 % by LSI "
            f"({round(0.1 * len(result.scores))} samples), {found['label_quality']} among as many labels of the lowest quality."
        )
        console.print(
            f"Run directory: {output}   picture: {output / PICTURE}   report: {result.page}", soft_wrap=True, markup=False
        )


app.command()(score)
app.command()(embed)
app.command()(issues)
app.command()(groups)
app.command()(report)
app.command()(apply)


@app.callback(invoke_without_command=True)
def options(show_version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Options of lapsi itself."""
    if show_version:
        print(version("lapsi"))
        raise typer.Exit


@app.command()
def show(run: Run, extremes: Extremes = 10, as_json: AsJson = False) -> None:
    """Summary of a run by class, both ends of its ranking, and its measured accuracy."""
    tell_run(Scores.load(run), extremes, quiet=False, as_json=as_json)


app.command()(export)
app.command()(select)
app.command()(plot)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Run directory.")],
    run_b: Annotated[Path, typer.Argument(help="Run directory to compare it with; samples are matched by id.")],
    extremes: Annotated[int, typer.Option("--extremes", min=0, help="Samples shown whose rank differs most.")] = 10,
    as_json: AsJson = False,
) -> None:
    """How far two runs agree: correlations, the top of the ranking in common, the samples that differ most."""
    agreement = agreement_of(Scores.load(run_a), Scores.load(run_b))
    if as_json:
        print(json.dumps(agreement_as_dict(agreement, extremes), indent=2, default=to_json))
    else:
        print_agreement(agreement, str(run_a), str(run_b), extremes, Console())


def main() -> None:
    """Runs the command line; errors that lapsi raises on purpose become one line and an exit code."""
    try:
        app()
    except LapsiError as error:
        Console(stderr=True, soft_wrap=True).print(f"lapsi: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)
    except OSError as error:
        Console(stderr=True, soft_wrap=True).print(f"lapsi: {error}", style="red", markup=False, highlight=False)
        sys.exit(InputError.exit_code if error.errno == errno.ENAMETOOLONG else 1)


def _bars(quiet: bool, as_json: bool) -> bool:
    return not quiet and not as_json
