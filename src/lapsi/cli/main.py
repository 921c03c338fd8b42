"""The commands of `lapsi`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from rich.console import Console

from lapsi.cli.demo import PICTURE, run_demo
from lapsi.cli.show import plan_as_dict, print_plan, print_run, run_as_dict
from lapsi.errors import InputError, LapsiError
from lapsi.io.features import Columns, read_dataset, read_indices, write_table
from lapsi.plan import make_plan
from lapsi.progress import Stages
from lapsi.report.overview import save_overview
from lapsi.runs import require_free, write_directory, write_file
from lapsi.scores import Scores
from lapsi.scoring import check_indices, score_dataset
from lapsi.settings import Settings

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Number = TypeVar("Number", int, float)

app = typer.Typer(
    help="How much every training sample really teaches a model (Laplace Sample Information, nats).\n\n"
    "Exit codes: 0 done, 1 unexpected error, 2 wrong input or option, 3 output exists, 4 fit did not converge, "
    "5 too little memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Curvature = StrEnum("Curvature", {"diag": "diag", "kfac": "kfac", "full": "full", "kron": "kron"})
Engine = StrEnum("Engine", {"auto": "auto", "newton": "newton"})
RemovalConvention = StrEnum("RemovalConvention", {"mean": "mean", "sum": "sum"})
Dtype = StrEnum("Dtype", {"auto": "auto", "float32": "float32", "float64": "float64"})

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no tables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing run or file.")]
Run = Annotated[Path, typer.Argument(help="Run directory written by 'lapsi score'.")]
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
    """Score scikit-learn's handwritten digits with planted label errors: tables, a run directory and a picture."""
    require_free(output, force)
    result = run_demo(output, flip, seed, force, Stages(_bars(quiet, as_json)))
    planted, found = int(result.planted.sum()), result.found(0.1)
    if as_json:
        record = {**run_as_dict(result.scores, 10), "run": str(output), "planted": planted, "planted_in_top_10_percent": found}
        print(json.dumps(record, indent=2, default=_plain))
    elif not quiet:
        console = Console()
        print_run(result.scores, 10, console)
        console.print(
            f"[bold]{found} of the {planted} planted label errors[/] stand in the top 10 % by LSI "
            f"({round(0.1 * len(result.scores))} samples)."
        )
        console.print(f"Run directory: {output}   picture: {output / PICTURE}", soft_wrap=True, markup=False)


@app.command()
def score(
    source: Annotated[Path, typer.Argument(help="Features: .npz, .npy, .safetensors, .parquet or .csv.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run directory to write.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Array (npz, safetensors) or list column (parquet) with the features.")
    ] = None,
    feature_prefix: Annotated[str | None, typer.Option(help="Tables: all columns whose names start so are features.")] = None,
    labels: Annotated[str | None, typer.Option(help="Array or column with the labels; for .npy the second file.")] = None,
    ids: Annotated[str | None, typer.Option(help="Array or column with unique identifiers; default: row numbers.")] = None,
    curvature: Annotated[Curvature, typer.Option(help="Structure of the posterior precision (kron is kfac).")] = Curvature.diag,
    weight_decay: Annotated[float, typer.Option(help="L2 weight w of the mean loss, > 0; biases included.")] = 0.01,
    prior_precision: Annotated[str, typer.Option(help="'map' (N·w, the weight decay read as prior) or a number > 0.")] = "map",
    removal: Annotated[
        RemovalConvention, typer.Option(help="mean: w stays fixed in the mean loss; sum: the total N·w does.")
    ] = RemovalConvention.mean,
    standardize: Annotated[
        bool, typer.Option("--standardize/--no-standardize", help="Scale features to mean 0, deviation 1.")
    ] = True,
    engine: Annotated[Engine, typer.Option(help="Leave-one-out engine.")] = Engine.auto,
    refine: Annotated[str, typer.Option(help="'auto', or the number of chord-Newton steps each sample takes.")] = "auto",
    verify: Annotated[int, typer.Option(help="Samples checked against converged leave-one-out optima; 0: none.")] = 16,
    indices: Annotated[Path | None, typer.Option(help="Score these rows only: .npy, or text with one number a line.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score the first LIMIT rows only (all train the model).")] = None,
    device: Annotated[str, typer.Option(help="torch device, e.g. cpu or cuda.")] = "cpu",
    dtype: Annotated[Dtype, typer.Option(help="Of the large products; auto: float32 where conditioning allows.")] = Dtype.auto,
    seed: Annotated[int, typer.Option(help="Seed of the draw of verified samples.")] = 0,
    memory_limit: Annotated[
        str | None, typer.Option(help="Peak memory, e.g. 8G or 500M; default: 80 % of what is free.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print engine, memory and time, and stop.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample of a labelled feature file and write a run directory."""
    settings = Settings(
        curvature=curvature.value,
        weight_decay=weight_decay,
        prior_precision=_number_or("map", prior_precision, float, "--prior-precision"),
        removal=removal.value,
        standardize=standardize,
        engine=engine.value,
        refine=_number_or("auto", refine, int, "--refine"),
        verify=verify,
        device=device,
        dtype=None if dtype.value == "auto" else dtype.value,
        seed=seed,
        memory_limit=None if memory_limit is None else _bytes(memory_limit),
    )
    if output is not None:
        require_free(output, force)
    elif not dry_run:
        raise InputError("No run directory was named; say where to write it with -o RUN (or use --dry-run).")
    dataset = read_dataset(source, Columns(features, feature_prefix, labels, ids))
    rows = _rows(indices, limit, dataset.n_samples)
    if dry_run:
        _tell_plan(dataset.n_samples, dataset.n_features, dataset.n_classes, len(rows), settings, as_json)
        return
    assert output is not None
    scores, _ = score_dataset(dataset, settings, rows, Stages(_bars(quiet, as_json)))

    def write(directory: Path) -> None:
        scores.write_into(directory)
        save_overview(scores, directory / PICTURE)

    write_directory(output, write, force)
    _tell_run(scores, 5, quiet, as_json)
    if not quiet and not as_json:
        Console().print(f"Run directory: {output}   picture: {output / PICTURE}", soft_wrap=True, markup=False)


@app.command()
def show(run: Run, extremes: Extremes = 10, as_json: AsJson = False) -> None:
    """Summary of a run by class, both ends of its ranking, and its measured accuracy."""
    _tell_run(Scores.load(run), extremes, quiet=False, as_json=as_json)


@app.command()
def export(
    run: Run,
    to: Annotated[Path, typer.Option("--to", help="File to write: .csv, .parquet or .json.")],
    force: Force = False,
) -> None:
    """Write the rows of a run to a table."""
    scores = Scores.load(run)
    write_file(to, lambda path: write_table(scores.table, path), force)
    Console().print(f"{len(scores):,} rows to {to}", soft_wrap=True, markup=False)


def main() -> None:
    """Runs the command line; errors that lapsi raises on purpose become one line and an exit code."""
    try:
        app()
    except LapsiError as error:
        Console(stderr=True, soft_wrap=True).print(f"lapsi: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)
    except OSError as error:
        Console(stderr=True, soft_wrap=True).print(f"lapsi: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)


def _tell_run(scores: Scores, n_extremes: int, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(run_as_dict(scores, n_extremes), indent=2, default=_plain))
    elif not quiet:
        print_run(scores, n_extremes, Console())


def _tell_plan(n_samples: int, n_features: int, n_classes: int, n_scored: int, settings: Settings, as_json: bool) -> None:
    plan = make_plan(n_samples, n_features, n_classes, n_scored, settings)
    plan.require_memory(n_features, n_classes)
    if as_json:
        print(json.dumps(plan_as_dict(plan, plan.seconds()), indent=2))
    else:
        print_plan(plan, plan.seconds(), Console())


def _rows(indices: Path | None, limit: int | None, n_samples: int) -> np.ndarray:
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; expected at least 1.")
    rows = check_indices(None if indices is None else read_indices(indices), n_samples)
    return rows if limit is None else rows[:limit]


def _number_or(word: str, text: str, kind: type[Number], option: str) -> str | Number:
    if text == word:
        return text
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{option} is {text!r}; expected '{word}' or a number.") from None


def _bytes(text: str) -> int:
    digits = text.upper().removesuffix("B").removesuffix("I")
    unit = digits[-1:] if digits[-1:] in UNITS else ""
    try:
        return int(float(digits.removesuffix(unit)) * UNITS[unit])
    except (ValueError, OverflowError):
        raise InputError(f"--memory-limit is {text!r}; expected a size such as 8G, 500M or a number of bytes.") from None


def _bars(quiet: bool, as_json: bool) -> bool:
    return not quiet and not as_json


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)
