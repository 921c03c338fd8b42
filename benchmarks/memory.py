"""Runs a shape in a process of its own and prints one JSON line: what the plan said of its memory, and what it took.

    python benchmarks/memory.py [--classes 100] [--features 16] [--samples 2000] [--scored 200] [--curvature kfac]

The data are Gaussian blobs. No time is taken.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lapsi
from lapsi.engines.base import Work
from lapsi.engines.choose import make_engine
from lapsi.settings.settings import make_settings

MIB = 2**20


def peak_mib(shape: argparse.Namespace, choices: dict[str, Any]) -> float:
    """Peak memory of this process after scoring the shape."""
    rng = np.random.default_rng(0)
    labels = np.arange(shape.samples) % shape.classes
    centres = 2 * rng.normal(size=(shape.classes, shape.features))
    features = centres[labels] + rng.normal(size=(shape.samples, shape.features))
    lapsi.score(features, labels, indices=np.arange(shape.scored), progress=False, **choices)
    return _peak_bytes() / MIB


def _peak_bytes() -> int:
    """Of this process alone; what `getrusage` tells a child that was forked is at least what its parent held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--scored", type=int, default=200)
    parser.add_argument("--curvature", default="kfac")
    parser.add_argument("--refine", default="auto", help="as in lapsi.score")
    parser.add_argument("--memory-limit", type=int, help="MiB")
    parser.add_argument("--here", action="store_true", help="run in this process and print its peak alone")
    shape = parser.parse_args()

    refine = shape.refine if shape.refine == "auto" else int(shape.refine)
    limit = None if shape.memory_limit is None else shape.memory_limit * MIB
    choices = {"curvature": shape.curvature, "refine": refine, "memory_limit": limit, "verify": 4}
    if shape.here:
        print(peak_mib(shape, choices))
        return
    work = Work(shape.samples, shape.features + 1, shape.classes, shape.classes - 1, shape.scored)
    plan = make_engine(make_settings("newton", **choices)).plan(work)
    command = [sys.executable, __file__, *sys.argv[1:], "--here"]
    peak = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    planned = plan.cost.peak_bytes / MIB
    sizes = {"planned_mib": round(planned), "peak_mib": round(peak), "peak_of_planned": round(peak / planned, 3)}
    del shape.here
    print(json.dumps({**vars(shape), **sizes, "plan": plan.details}))


if __name__ == "__main__":
    main()
