"""`lapsi score`: plan, run, keep, resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from lapsi.cli.data import open_data, sketch_data
from lapsi.cli.options import (
    AsJson,
    Cache,
    ClassNames,
    CorruptionSeed,
    DataDir,
    EmbedBatchSize,
    EmbedDtype,
    Features,
    FlipLabels,
    Force,
    Group,
    HumanLabels,
    Ids,
    Images,
    KeepColumns,
    Labels,
    LoremIpsum,
    MaxTokens,
    Model,
    Noise,
    NoiseClasses,
    Normalize,
    Options,
    Pooling,
    Prefix,
    Quiet,
    ReferenceLabels,
    SkipBad,
    Source,
    Split,
    SplitColumn,
    Texts,
    to_absolute,
    to_changed_spec,
    to_plain,
    to_settings,
)
from lapsi.cli.show import plan_as_dict, print_plan, tell_left_out, tell_run
from lapsi.data.dataset import Dataset
from lapsi.data.readers.arrays import read_indices, write_table
from lapsi.engines.choose import make_engine
from lapsi.errors import InputError, RunExistsError
from lapsi.execution.checkpoint import PROGRESS, Keep, differences, has_parts, read_progress, remove_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.files import MARKER
from lapsi.execution.progress import Stages
from lapsi.report.overview import save_overview
from lapsi.results.run_directory import LEFT_OUT, PICTURE, require_free, unfinished_path
from lapsi.results.scores import Scores
from lapsi.scoring import ROUTINE, check_indices, score_dataset, work_of
from lapsi.settings.model import ACTIVATIONS
from lapsi.settings.objective import REMOVALS
from lapsi.settings.recipe import PRESETS
from lapsi.settings.settings import Settings

INTERRUPTED = 130
ABOUT_THIS_CALL = ("output", "resume", "restart", "dry_run", "force", "quiet", "as_json")

PROBE, RECIPE = "Probe and engine", "Training recipe (engine retrain; the preset 'paper' where not given)"


def score(
    context: typer.Context,
    source: Source = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run directory to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the unfinished run of this directory.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw its finished parts away and start anew.")] = False,
    features: Features = None,
    feature_prefix: Prefix = None,
    labels: Labels = None,
    ids: Ids = None,
    group: Group = None,
    split_column: SplitColumn = None,
    reference_labels: ReferenceLabels = None,
    class_names: ClassNames = None,
    keep: KeepColumns = None,
    split: Split = None,
    data_dir: DataDir = None,
    images: Images = None,
    texts: Texts = None,
    model: Model = None,
    pooling: Pooling = "auto",
    normalize: Normalize = None,
    max_tokens: MaxTokens = None,
    embed_batch_size: EmbedBatchSize = 32,
    embed_dtype: EmbedDtype = "float32",
    cache: Cache = None,
    skip_bad: SkipBad = False,
    flip_labels: FlipLabels = 0.0,
    human_labels: HumanLabels = None,
    lorem_ipsum: LoremIpsum = 0.0,
    noise: Noise = 0.0,
    noise_classes: NoiseClasses = None,
    corruption_seed: CorruptionSeed = 0,
    curvature: Annotated[
        str, typer.Option(metavar="diag|kfac|full", help="Structure of the posterior precision (kron is kfac).")
    ] = "diag",
    weight_decay: Annotated[float, typer.Option(help="L2 weight w of the mean loss; biases included.")] = 0.01,
    prior_precision: Annotated[str, typer.Option(help="'map' (N·w, the weight decay read as prior) or a number > 0.")] = "map",
    removal: Annotated[
        str, typer.Option(metavar="|".join(REMOVALS), help="mean: w stays fixed in the mean loss; sum: the total N·w does.")
    ] = "mean",
    standardize: Annotated[
        bool, typer.Option("--standardize/--no-standardize", help="Scale features to mean 0, deviation 1.")
    ] = True,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|newton|retrain",
            help="newton: closed form; retrain: train without each sample.",
            rich_help_panel=PROBE,
        ),
    ] = "auto",
    hidden: Annotated[
        str | None, typer.Option(help="Units of hidden layers, e.g. 64 or 64,32; none: linear.", rich_help_panel=PROBE)
    ] = None,
    activation: Annotated[
        str, typer.Option(metavar="|".join(ACTIVATIONS), help="Of the hidden layers.", rich_help_panel=PROBE)
    ] = "relu",
    refine: Annotated[
        str, typer.Option(help="newton: 'auto', or chord-Newton steps for each sample.", rich_help_panel=PROBE)
    ] = "auto",
    preset: Annotated[
        str | None, typer.Option(metavar="|".join(PRESETS), help="Where the recipe starts from.", rich_help_panel=RECIPE)
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="sgd|adam|adamw", help="Default: sgd.", rich_help_panel=RECIPE)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 0.04.", rich_help_panel=RECIPE)] = None,
    momentum: Annotated[float | None, typer.Option(help="Of sgd. Default: 0.9.", rich_help_panel=RECIPE)] = None,
    nesterov: Annotated[
        bool | None, typer.Option("--nesterov/--no-nesterov", help="Default: on.", rich_help_panel=RECIPE)
    ] = None,
    betas: Annotated[str | None, typer.Option(help="Of adam. Default: 0.9,0.999.", rich_help_panel=RECIPE)] = None,
    epsilon: Annotated[float | None, typer.Option(help="Of adam. Default: 1e-8.", rich_help_panel=RECIPE)] = None,
    sam_radius: Annotated[float | None, typer.Option(help="> 0: sharpness-aware (SAM).", rich_help_panel=RECIPE)] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="constant|step|cosine", help="Default: constant.", rich_help_panel=RECIPE)
    ] = None,
    step_epochs: Annotated[int | None, typer.Option(help="Of schedule step. Default: 30.", rich_help_panel=RECIPE)] = None,
    step_factor: Annotated[float | None, typer.Option(help="Of schedule step. Default: 0.1.", rich_help_panel=RECIPE)] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: 1000.", rich_help_panel=RECIPE)] = None,
    batching: Annotated[
        str | None, typer.Option(metavar="full|sequential|shuffled|poisson", help="Default: full.", rich_help_panel=RECIPE)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Of all but full batches.", rich_help_panel=RECIPE)] = None,
    clip_norm: Annotated[float | None, typer.Option(help="DP-SGD: per-sample gradient norm.", rich_help_panel=RECIPE)] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="DP-SGD: noise in units of the clip norm.", rich_help_panel=RECIPE)
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings to average. Default: 3.", rich_help_panel=RECIPE)] = None,
    every: Annotated[int | None, typer.Option(help="Also keep LSI after every EVERY epochs.", rich_help_panel=RECIPE)] = None,
    verify: Annotated[int, typer.Option(help="Samples whose score is checked the slow way; 0: none.")] = 16,
    indices: Annotated[Path | None, typer.Option(help="Score these rows only: .npy, or text with one number a line.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score the first LIMIT rows only (all train the model).")] = None,
    device: Annotated[str, typer.Option(help="torch device, e.g. cpu or cuda.")] = "cpu",
    dtype: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|float64", help="Of the large products; auto: float32 (newton: if well conditioned)."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of verified samples, initial weights, batches and noise.")] = 0,
    memory_limit: Annotated[
        str | None, typer.Option(help="Peak memory, e.g. 8G or 500M; default: 80 % of what is free.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print engine, memory and time, and stop.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample of labelled images, texts or features and write a run directory.

    Retraining keeps its finished parts in RUN.partial until the run is whole; after a kill, --resume RUN goes on.
    """
    options = {name: value for name, value in to_plain(context.params).items() if name not in ABOUT_THIS_CALL}
    call: dict[str, Any] = {"options": to_absolute(options), "name": options["source"], "force": force}
    if resume is not None:
        output, call = resume, _resumed(context, resume, output, call)
        if _is_whole(resume):
            remove_checkpoint(unfinished_path(resume))
            tell_run(Scores.load(resume), 5, quiet, as_json)
            return
        force = force or call["force"]
    options = call["options"]
    if options["source"] is None:
        raise InputError("No source was named; say what to score, or which run to go on with (--resume RUN).")
    settings = to_settings(options)
    if output is None and not dry_run:
        raise InputError("No run directory was named; say where to write it with -o RUN (or use --dry-run).")
    if output is not None:
        require_free(output, force)
        if resume is None and not restart:
            _require_no_unfinished(output)
    stages = Stages(not quiet and not as_json)
    if dry_run:
        _tell_plan(options, call["name"], settings, stages, as_json)
        return
    assert output is not None
    parts = None
    if make_engine(settings).goes_on:
        parts = Keep(unfinished_path(output), call, restart=resume is None)
    try:
        opened = open_data(to_changed_spec(options), call["name"], stages)
        rows = _rows(options, opened.dataset)
        scores, _ = score_dataset(opened.dataset, settings, rows, stages, parts)
    except KeyboardInterrupt:
        if parts is not None:
            message = f"Stopped. Finished parts are kept; go on with: lapsi score --resume {output}"
            Console(stderr=True, soft_wrap=True).print(message, markup=False, highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    scores = replace(scores, provenance=replace(scores.provenance, **opened.record))

    def beside(directory: Path) -> None:
        save_overview(scores, directory / PICTURE)
        if len(opened.left_out) > 0:
            write_table(opened.left_out, directory / LEFT_OUT)

    scores.save(output, force=force, beside=beside)
    remove_checkpoint(unfinished_path(output))
    tell_run(scores, 5, quiet, as_json, opened.left_out)
    if not quiet and not as_json:
        tell_left_out(opened.left_out, Console())
        Console().print(f"Run directory: {output}   picture: {output / PICTURE}", soft_wrap=True, markup=False)


def _resumed(context: typer.Context, run: Path, output: Path | None, call: dict[str, Any]) -> dict[str, Any]:
    """The call that began the run, after checking that nothing given now contradicts it."""
    if output is not None and output.absolute() != run.absolute():
        raise InputError(f"--output is {output} but --resume is {run}; give --resume alone.")
    path = unfinished_path(run)
    record = read_progress(path)
    if record is None:
        state = (
            "is finished" if (run / MARKER).is_file() else f"was not begun, or nothing of it was kept; start it with -o {run}"
        )
        raise InputError(f"There is nothing to go on with: {run} {state}.")
    began: dict[str, Any] = record["call"]
    if not isinstance(began.get("options"), dict):
        raise InputError(f"{path} was begun from Python; go on there with the same call of lapsi.score.")
    given = {name: value for name, value in call["options"].items() if _is_given(context, name)}
    options = {**call["options"], **began["options"], **given}
    before, after = (to_settings(each).to_dict() for each in (options | began["options"], options))
    after["execution"] |= {name: before["execution"][name] for name in ROUTINE}
    lines = differences(before, after)
    if lines:
        raise InputError(
            f"The unfinished run of {run} has other settings: {'; '.join(lines)}. Leave them out to go on with it."
        )
    return {**began, "options": options}


def _is_whole(run: Path) -> bool:
    """Whether a run that was begun and not cleared away was written all the same."""
    written, began = run / MARKER, unfinished_path(run) / PROGRESS
    return written.is_file() and written.stat().st_mtime >= began.stat().st_mtime


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the command line names an option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _require_no_unfinished(run: Path) -> None:
    path = unfinished_path(run)
    if read_progress(path) is not None and has_parts(path):
        raise RunExistsError(
            f"{path} holds the finished parts of a run; go on with 'lapsi score --resume {run}', or start anew with --restart."
        )


def _rows(options: Options, dataset: Dataset) -> np.ndarray:
    """Positions in the data set of the samples to score; --indices counts the rows of the source."""
    limit, indices = options["limit"], options["indices"]
    if limit is not None and limit < 1:
        raise InputError(f"--limit is {limit}; expected at least 1.")
    if indices is None:
        rows = np.arange(dataset.n_samples)
    else:
        asked = check_indices(read_indices(Path(indices)), dataset.n_source)
        asked = asked[np.isin(asked, dataset.rows)]  # without those that could not be read
        rows = np.searchsorted(dataset.rows, asked)
        if len(rows) == 0:
            raise InputError("None of the samples that --indices names could be read.")
    return rows if limit is None else rows[:limit]


def _tell_plan(options: Options, name: str, settings: Settings, stages: Stages, as_json: bool) -> None:
    """What the run will cost; of images and texts a few are embedded to see how long all will take."""
    require_device(settings.execution.device)
    dataset, embedding = sketch_data(to_changed_spec(options), name, stages)
    n_scored = len(_rows(options, dataset))
    engine, work = make_engine(settings), work_of(dataset, n_scored)
    plan = engine.plan(work)
    seconds = engine.seconds(plan, work, dataset)
    if as_json:
        print(json.dumps(plan_as_dict(engine.name, plan, seconds) | {"embedding": embedding}, indent=2))
    else:
        print_plan(engine.name, plan, seconds, embedding, Console())
