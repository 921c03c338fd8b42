"""`lapsi score-pairs`: from a file of pairs to a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lapsi.cli.show import tell_left_out, tell_run
from lapsi.cli.terminal import say, told
from lapsi.cli.unfinished import until_whole
from lapsi.data.readers.pairs import open_pairs
from lapsi.data.writing import write_table
from lapsi.execution.backend import open_backend
from lapsi.execution.progress import Stages
from lapsi.pairs import score_pair_set
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
        rows = np.arange(len(pairs))
        if call.limit is not None and call.limit < len(pairs):
            rows = np.linspace(0, len(pairs) - 1, call.limit).astype(np.int64)
        scores = score_pair_set(pairs, call.settings, rows, stages, keep, backend)
        left_out = pd.DataFrame(pairs.left_out, columns=["sample", "reason"])
        scores.save(output, force=force, beside=lambda directory: _beside(scores, left_out, directory))
    with told(output):
        tell_run(scores, 5, quiet, as_json, left_out)
        if not quiet and not as_json:
            tell_left_out(left_out)
            say(f"Run directory: {output}   picture: {output / PICTURE}")


def _beside(scores: Scores, left_out: pd.DataFrame, directory: Path) -> None:
    save_overview(scores, directory / PICTURE)
    if len(left_out) > 0:
        write_table(left_out, directory / LEFT_OUT)
