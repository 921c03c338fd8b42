"""`lapsi score`: plan, run, keep, resume."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from lapsi.cli.data import open_and_tell, sketch_and_tell, tell_table
from lapsi.cli.effects import require_extractor_effect, require_sense
from lapsi.cli.generated import Options
from lapsi.cli.options import called, to_absolute, to_changed_spec, to_settings
from lapsi.cli.plan import plan_as_dict, print_plan
from lapsi.cli.show import tell_left_out, tell_run
from lapsi.cli.terminal import INTERRUPTED, say, told
from lapsi.cli.unfinished import BY
from lapsi.data.dataset import Dataset
from lapsi.data.opening import Opened
from lapsi.data.readers.arrays import read_indices
from lapsi.data.told_targets import in_words as targets_in_words
from lapsi.data.writing import write_table
from lapsi.engines.base import work_of
from lapsi.engines.choose import chosen_engine, make_engine
from lapsi.engines.identity import ROUTINE
from lapsi.errors import DiskFullError, InputError, RunExistsError
from lapsi.execution.backend import open_backend
from lapsi.execution.checkpoint import Hold, Keep, differences, has_parts, hold, read_progress, remove_checkpoint
from lapsi.execution.device import require_device
from lapsi.execution.disk import in_words
from lapsi.execution.progress import Stages
from lapsi.measuring import add_measures, required_measures
from lapsi.report.overview import flipped_in, gallery_images, save_overview
from lapsi.results.paths import is_whole, not_begun, unfinished_path
from lapsi.results.run_directory import LEFT_OUT, PICTURE, require_free
from lapsi.results.scores import Scores
from lapsi.scoring import check_indices, doubts, run_bytes, score_dataset
from lapsi.settings.execution import LOCAL
from lapsi.settings.settings import Settings

OF_RAY = ("address", "worker_cpus")


@dataclass(frozen=True, slots=True)
class Call:
    """How a run is made, whatever is scored.

    Attributes:
        output: the run directory to write; None only where nothing is written, or with `resume`.
        resume: the run to go on with, or None.
        restart: whether finished parts of a run are thrown away.
        dry_run: whether only the plan is told.
        force: whether a run may be overwritten.
        quiet, as_json: how it is told.
    """

    output: Path | None
    resume: Path | None
    restart: bool
    dry_run: bool
    force: bool
    quiet: bool
    as_json: bool


def score(typed: Options, how: Call) -> None:
    """Scores what the options that were typed ask for."""
    name = called(typed["source"]) if "source" in typed else None
    record: dict[str, Any] = {"options": to_absolute(typed), "name": name, "force": how.force}
    given, output, resume, force = set(typed), how.output, how.resume, how.force
    with ExitStack() as until_done:
        held = None
        if resume is not None:
            held = None if how.dry_run else _hold(resume, until_done)
            output, record = resume, _resumed(resume, record)
            if not how.dry_run and is_whole(resume):
                _clear_away(resume)
                _tell(resume, Scores.load(resume), None, how)
                return
            force = force or record["force"]
        options, new = record["options"], resume is None and not how.restart
        settings = require_sense(options, given)
        stages = Stages(not how.quiet and not how.as_json)
        if output is not None:
            _require_start(output, force, new)
        if how.dry_run:
            _tell_plan(given, options, record["name"], settings, stages, how.as_json)
            return
        assert output is not None
        try:
            backend = until_done.enter_context(open_backend(settings.execution))
            opened = open_and_tell(to_changed_spec(options), record["name"], stages, backend)
            require_extractor_effect(given, opened.content is not None)
            tell_table(opened.dataset, stages)
            rows, measures = _rows(options, opened.dataset), options.get("measures", [])
            required_measures(measures, opened.dataset, settings)
            if held is None:
                held = _hold(output, until_done, begin=True)
                _require_start(output, force, new)  # another process may have been here since
            parts = Keep(unfinished_path(output), record, resume is None, held, beside=True)
            scores, _ = score_dataset(opened.dataset, settings, rows, stages, parts, backend)
            scores = add_measures(scores, opened.dataset, measures, stages)
            scores = replace(scores, provenance=replace(scores.provenance, **opened.record))
            _write(scores, opened, output, force)
        except KeyboardInterrupt:
            if read_progress(unfinished_path(output)) is not None:
                say(f"Stopped. Finished parts are kept; go on with: lapsi score --resume {output}", error=True)
            raise typer.Exit(INTERRUPTED) from None
        except DiskFullError as error:
            if not _has_parts(output):
                raise
            again = f"Finished parts are kept; then go on with: lapsi score --resume {output}"
            raise DiskFullError(f"{error} {again}") from error
    _tell(output, scores, opened.left_out, how)


def _tell(run: Path, scores: Scores, left_out: pd.DataFrame | None, how: Call) -> None:
    """Shows a run that was written, and samples that could not be read where it was written just now."""
    with told(run):
        tell_run(scores, 5, how.quiet, how.as_json, left_out)
        if left_out is not None and not how.quiet and not how.as_json:
            tell_left_out(left_out)
            say(f"Run directory: {run}   picture: {run / PICTURE}")


def _hold(run: Path, until_done: ExitStack, begin: bool = False) -> Hold | None:
    """Keeps other processes out of the finished parts of a run, where there are some or some will `begin`."""
    path = unfinished_path(run)
    if not begin and read_progress(path) is None:
        return None
    held = hold(path)
    until_done.callback(held.release)
    return held


def _require_start(run: Path, force: bool, new: bool) -> None:
    """Refuses to start where a run lies already, or a `new` one where there are finished parts of one."""
    require_free(run, force)
    if new:
        _require_no_unfinished(run)


def _write(scores: Scores, opened: Opened, output: Path, force: bool) -> None:
    def beside(directory: Path) -> None:
        save_overview(scores, directory / PICTURE, gallery_images(scores, opened.content), flipped_in(scores))
        if len(opened.left_out) > 0:
            write_table(opened.left_out, directory / LEFT_OUT)

    scores.save(output, force=force, beside=beside)
    _clear_away(output)


def _clear_away(run: Path) -> None:
    """Removes the finished parts of a run that is whole."""
    parts = unfinished_path(run)
    try:
        remove_checkpoint(parts)
    except OSError as error:
        say(f"The finished parts in {parts} cannot be removed ({error}); delete them.", "yellow", error=True)


def _resumed(run: Path, call: dict[str, Any]) -> dict[str, Any]:
    """The call that began the run, after checking that nothing typed now contradicts it."""
    path = unfinished_path(run)
    record = read_progress(path)
    if record is None:
        raise not_begun(run)
    began: dict[str, Any] = record["call"]
    if not isinstance(began.get("options"), dict):
        by = began.get(BY, "lapsi.score in Python")
        raise InputError(f"{path} was begun by {by}; go on with the same call of it.")
    options = began["options"] | call["options"]
    if call["options"].get("backend") == LOCAL:
        options = {name: value for name, value in options.items() if name in call["options"] or name not in OF_RAY}
    before, after = (to_settings(each).to_dict() for each in (began["options"], options))
    after["execution"] |= {name: before["execution"][name] for name in ROUTINE}
    lines = differences(before, after)
    if lines:
        raise InputError(
            f"The unfinished run of {run} has other settings: {'; '.join(lines)}. Leave them out to go on with it."
        )
    return {**began, "options": options}


def _require_no_unfinished(run: Path) -> None:
    if _has_parts(run):
        raise RunExistsError(
            f"{unfinished_path(run)} holds the finished parts of a run; go on with 'lapsi score --resume {run}', or start anew "
            "with --restart."
        )


def _has_parts(run: Path) -> bool:
    """Whether finished parts of a run are kept."""
    path = unfinished_path(run)
    return read_progress(path) is not None and has_parts(path)


def _rows(options: Options, dataset: Dataset) -> np.ndarray:
    """Positions in the data set of the samples to score; --indices counts the rows of the source."""
    limit, indices = options.get("limit"), options.get("indices")
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


def _tell_plan(given: set[str], options: Options, name: str, settings: Settings, stages: Stages, as_json: bool) -> None:
    """What the run will cost; of images and texts a few are embedded to see how long all will take."""
    require_device(settings.execution.device)
    dataset, embedding = sketch_and_tell(to_changed_spec(options), name, stages)
    tell_table(dataset, stages)
    require_extractor_effect(given, embedding is not None)
    n_scored = len(_rows(options, dataset))
    work = work_of(dataset, n_scored)
    chosen = chosen_engine(settings, work)
    engine = make_engine(chosen.settings)
    plan = engine.plan(work)
    seconds = engine.seconds(plan, work, dataset)
    disk = {"kept_bytes": plan.kept_bytes, "run_bytes": run_bytes(dataset, chosen.settings, n_scored)}
    labels, cautions = targets_in_words(dataset.targets), doubts(dataset, features=embedding is None)
    if as_json:
        told = plan_as_dict(engine.name, plan, seconds) | disk | chosen.record()
        print(json.dumps(told | {"embedding": embedding, "labels": labels, "cautions": cautions}, indent=2))
    else:
        parts, whole = (in_words(size) for size in disk.values())
        plan = replace(plan, notes=(*plan.notes, ("disk", f"{parts} of finished parts, then {whole}")))
        called = f"{engine.name}: {chosen.reason}" if chosen.reason else engine.name
        print_plan(called, plan, seconds, [] if embedding is None else [embedding], Console(), labels)
        for each in cautions:
            say(f"Caution: {each}", "yellow")
