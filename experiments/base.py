"""What an experiment is, and its one way from the command line to figure, numbers and verdicts."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from experiments.verdicts import Verdict
from lapsi.errors import LapsiError
from lapsi.execution.files import write_file, write_files
from lapsi.plots.style import STYLE

FULL, MEDIUM, SMALL, TINY = SCALES = ("full", "medium", "small", "tiny")  # tiny: for the tests, on what is built in
DATA, RESULTS = "LAPSI_DATA", "paper-run"
FIGURES, DPI = (".png", ".pdf"), 200
Numbers = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """What an experiment is given.

    Attributes:
        data: folder of the data, or None.
        scale: `"full"`: the official data sets; `"small"`: what is at hand, within minutes; `"medium"`: an hour of the same for
            what gains by it; `"tiny"`: seconds, for tests.
        work: folder for finished parts, which are gone on from; it is removed at the end.
        tell: says how far it is, one line each.
    """

    data: Path | None
    scale: str
    work: Path
    tell: Callable[[str], None]

    def sized(self, full: T, small: T, tiny: T, medium: T | None = None) -> T:
        """The one of its scale; without a medium one that is the small one."""
        return {FULL: full, MEDIUM: small if medium is None else medium, SMALL: small, TINY: tiny}[self.scale]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A figure or table of the paper.

    Attributes:
        name: of its module.
        paper: what it is in the paper, e.g. "Figure 5".
        title: what is asked.
        minutes: at small scale on two cores, about.
        measure: makes the numbers, plain JSON values; "data" among them says what they are of.
        judge: the claims, from the numbers alone.
        draw: the figure, from the numbers alone.
        version: another one where what is measured has changed, so that old numbers are not taken for new ones.
    """

    name: str
    paper: str
    title: str
    minutes: float
    measure: Callable[[Setup], Numbers]
    judge: Callable[[Numbers], tuple[Verdict, ...]]
    draw: Callable[[Numbers], Figure]
    version: int = 1


def run(experiment: Experiment, setup: Setup, to: Path, again: bool = False) -> dict[str, Any]:
    """Measures, unless the numbers are there already, then judges and draws; returns what NAME.json holds.

    Raises:
        LapsiError: as the parts of lapsi that are used.
    """
    to.mkdir(parents=True, exist_ok=True)
    record = None if again else done(experiment, setup, to)
    if record is None:
        setup.work.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        numbers = plain(experiment.measure(setup))
        record = _record(experiment, setup, numbers, time.perf_counter() - start)
    record |= {"paper": experiment.paper, "title": experiment.title}
    record["verdicts"] = [plain(verdict.to_dict()) for verdict in experiment.judge(record["numbers"])]
    with mpl.rc_context(STYLE):
        figure = experiment.draw(record["numbers"])
        write_files(tuple(to / f"{experiment.name}{kind}" for kind in FIGURES), lambda *paths: _save(figure, paths), force=True)
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
    write_file(to / f"{experiment.name}.json", lambda path: path.write_text(text, encoding="utf-8"), force=True)
    shutil.rmtree(setup.work, ignore_errors=True)
    return record


def done(experiment: Experiment, setup: Setup, to: Path) -> dict[str, Any] | None:
    """What an earlier run of the same experiment, on the same files at that scale, wrote; None without one.

    Where the small scale is asked for, the medium one will do.
    """
    try:
        record = json.loads((to / f"{experiment.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    scales = (SMALL, MEDIUM) if setup.scale == SMALL else (setup.scale,)
    will_do = [_asked(experiment, replace(setup, scale=scale)) for scale in scales]
    return record if isinstance(record, dict) and record.get("asked") in will_do else None


def _asked(experiment: Experiment, setup: Setup) -> dict[str, Any]:
    """What makes two runs the same: a data folder is known by the names and sizes of what lies in it, two levels deep."""
    folder = setup.data if setup.scale != TINY else None
    files = [] if folder is None else sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    listing = [[path.relative_to(folder).as_posix(), path.stat().st_size] for path in files if folder and path.is_file()]
    return {"name": experiment.name, "version": experiment.version, "scale": setup.scale, "files": listing}


def _record(experiment: Experiment, setup: Setup, numbers: Numbers, seconds: float) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "paper": experiment.paper,
        "title": experiment.title,
        "scale": setup.scale,
        "command": f"python -m experiments.{experiment.name} --scale {setup.scale}",
        "asked": _asked(experiment, setup),
        "seconds": round(seconds, 1),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("lapsi", "torch", "numpy")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()} processors",
        "numbers": numbers,
    }


def _save(figure: Figure, paths: Sequence[Path]) -> None:
    for path in paths:
        drawn = io.BytesIO()
        unstamped = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        figure.savefig(drawn, format=path.suffix[1:], dpi=DPI, metadata=unstamped)
        path.write_bytes(drawn.getvalue())


def plain(value: Any) -> Any:
    """The same in plain JSON values; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: Any) -> float:
    """A number that was stored; NaN for None."""
    return math.nan if value is None else float(value)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that every experiment has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = os.environ.get(DATA)
    parser.add_argument("--data", type=Path, default=found and Path(found), help=f"folder of the data; default: ${DATA}")
    parser.add_argument("--scale", choices=SCALES, default=SMALL, metavar="full|medium|small", help="default: small")
    parser.add_argument("--to", type=Path, default=Path(RESULTS), help=f"folder of the results; default: {RESULTS}")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    return parser


def setup_of(options: argparse.Namespace, name: str) -> Setup:
    """What the options say of one experiment."""
    return Setup(options.data, options.scale, options.to / f"{name}.parts", tell)


def tell(line: str) -> None:
    """One line on standard error."""
    print(f"  {line}", file=sys.stderr, flush=True)


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Runs one experiment from the command line, and prints its verdicts."""
    options = parser_of(f"{experiment.paper}: {experiment.title}").parse_args(arguments)
    try:
        record = run(experiment, setup_of(options, experiment.name), options.to, options.again)
    except LapsiError as error:
        sys.exit(f"{experiment.name}: {error}")
    for verdict in record["verdicts"]:
        print(f"{verdict['word']}: {verdict['claim']} ({verdict['recipe']})\n  {verdict['why']}")
