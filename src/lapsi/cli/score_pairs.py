"""`lapsi score-pairs`: from a file of pairs to a run directory."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from lapsi.cli.plan import plan_as_dict, print_plan
from lapsi.cli.show import tell_left_out, tell_run
from lapsi.cli.terminal import say, told
from lapsi.cli.unfinished import until_whole
from lapsi.data.readers.pairs import open_pairs, sketch_pairs
from lapsi.data.spec import record_of_pairs
from lapsi.data.writing import write_table
from lapsi.engines.base import Plan
from lapsi.execution.backend import open_backend
from lapsi.execution.disk import in_words
from lapsi.execution.progress import Stages
from lapsi.pairs import plan_pair_set, score_pair_set
from lapsi.report.overview import save_overview
from lapsi.results.run_directory import LEFT_OUT, PICTURE
from lapsi.results.scores import Scores
from lapsi.settings.pair_source import PairSource
from lapsi.settings.pairs import PairSettings


@dataclass(frozen=True, slots=True)
class Call:
    """What is scored, and how.

    Attributes:
        source: the file.
        asked: what it holds where.
        settings: of the run.
        limit: how many pairs are scored; None: all.
        cache: folder of the feature cache.
    """

    source: Path
    asked: PairSource
    settings: PairSettings
    limit: int | None
    cache: Path | None


def score_pairs(call: Call, output: Path, force: bool, quiet: bool, as_json: bool) -> None:
    """Scores the pairs of a file and writes the run to `output`."""
    stages = Stages(not quiet and not as_json)
    with until_whole(output, force, "lapsi score-pairs") as keep, open_backend(call.settings.execution) as backend:
        pairs = open_pairs(call.source, call.asked, stages, call.cache, backend)
        pairs = replace(pairs, record=pairs.record | {"data": record_of_pairs(call.source, call.asked)})
        if call.asked.rows is not None and stages.show:
            say(f"A trial on {len(pairs):,} of {pairs.n_source:,} pairs, drawn at random.", "dim", error=True)
        rows = _rows(call, len(pairs))
        scores = score_pair_set(pairs, call.settings, rows, stages, keep, backend)
        left_out = pd.DataFrame(pairs.left_out, columns=["sample", "reason"])
        scores.save(output, force=force, beside=lambda directory: _beside(scores, left_out, directory))
    with told(output):
        tell_run(scores, 5, quiet, as_json, left_out)
        if not quiet and not as_json:
            tell_left_out(left_out)
            say(f"Run directory: {output}   picture: {output / PICTURE}")


def tell_plan(call: Call, quiet: bool, as_json: bool) -> None:
    """What the run will cost; of images and texts a few are embedded to see how long all will take."""
    stages = Stages(not quiet and not as_json)
    pairs, embeddings = sketch_pairs(call.source, call.asked, stages, call.cache)
    n_scored, engine = len(_rows(call, len(pairs))), call.settings.engine
    found, seconds = plan_pair_set(pairs, call.settings, n_scored)
    details = {
        "n_pairs": len(pairs),
        "n_scored": n_scored,
        "n_params": call.settings.pairs.dimensions * (sum(pairs.widths) + 2),
    }
    models = (
        f"{n_scored:,} of {engine.recipe.epochs:,} epochs, {found.chunk_size:,} at once; {details['n_params']:,} parameters"
    )
    notes = (("models", models), ("disk", f"{in_words(found.kept_bytes)} of finished parts"))
    plan = Plan(found.cost, details | {"chunk_size": found.chunk_size, "kept_bytes": found.kept_bytes}, notes)
    if as_json:
        print(json.dumps(plan_as_dict(engine.name, plan, seconds) | {"embeddings": embeddings}, indent=2))
    else:
        print_plan(engine.name, plan, seconds, embeddings, Console())


def _rows(call: Call, n_pairs: int) -> np.ndarray:
    """Positions of the pairs to score, spread over all."""
    if call.limit is None or call.limit >= n_pairs:
        return np.arange(n_pairs)
    return np.linspace(0, n_pairs - 1, call.limit).astype(np.int64)


def _beside(scores: Scores, left_out: pd.DataFrame, directory: Path) -> None:
    save_overview(scores, directory / PICTURE)
    if len(left_out) > 0:
        write_table(left_out, directory / LEFT_OUT)
