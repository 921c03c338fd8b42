"""User CPU seconds of commands that should answer at once; prints one JSON line.

    python benchmarks/startup.py [--rows 50000] [--rounds 5]

Each command is started anew every round, the commands of one round one after another; the run that is shown has as many rows as
asked for, of 8 features in 10 classes. What is given is the least of the rounds: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import lapsi

N_FEATURES, N_CLASSES = 8, 10


def make_run(path: Path, n_rows: int) -> None:
    """Scores blobs and keeps them."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_rows) % N_CLASSES
    features = rng.normal(size=(n_rows, N_FEATURES)) + 2 * rng.normal(size=(N_CLASSES, N_FEATURES))[labels]
    lapsi.score(features, labels, refine=0, verify=0, progress=False).save(path)


def user_seconds(command: list[str], status: int) -> float:
    """User CPU seconds of a call of lapsi that must end with `status`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run([sys.executable, "-m", "lapsi", *command], capture_output=True, text=True, check=False)
    if ended.returncode != status:
        raise SystemExit(f"lapsi {' '.join(command)} ended with {ended.returncode}, expected {status}: {ended.stderr}")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, missing = str(Path(folder) / "run"), str(Path(folder) / "missing")
        make_run(Path(run), arguments.rows)
        commands = {
            "version": (["--version"], 0),
            "help": (["--help"], 0),
            "help_of_score": (["score", "--help"], 0),
            "wrong_option": (["score", "--nonsense"], 2),
            "wrong_value": (["score", "digits", "-o", missing, "--curvature", "dense"], 2),
            "missing_file": (["score", f"{missing}.npz", "-o", missing], 2),
            "missing_run": (["show", missing], 2),
            "show": (["show", run], 0),
            "issues": (["issues", run], 0),
        }
        rounds = [{name: user_seconds(*call) for name, call in commands.items()} for _ in range(arguments.rounds)]
    least = {name: round(min(each[name] for each in rounds), 3) for name in commands}
    print(json.dumps({"rows": arguments.rows, "rounds": arguments.rounds, "user_seconds": least}))


if __name__ == "__main__":
    main()
