"""Retraining by two workers of a Ray cluster on this machine against one process, a thread each; prints one JSON line.

    python benchmarks/ray_workers.py [--samples 2000] [--features 128] [--classes 10] [--scored 512] [--epochs 30] [--workers 2]

Features are drawn at random. One worker is killed in another run; its rows are compared bit by bit. Ray is started before, and
its workers have loaded lapsi, when clocks are read: a run of hours waits for that once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
import time
from contextlib import suppress

import numpy as np
import psutil
import ray
import torch

from lapsi.data.dataset import make_dataset
from lapsi.execution.backend import HERE, Backend, open_backend
from lapsi.execution.progress import Stages
from lapsi.results.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings.execution import Execution
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import make_settings

WORKER = "ray::_run"  # what Ray calls the process of a task that runs


def workers() -> list[psutil.Process]:
    """Those of this process's Ray that work on a part."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            found += [each] if each.cmdline()[:1] == [WORKER] else []
    return found


def kill_one() -> list[int]:
    """Kills a worker of a part, as soon as there is one; the list gets its number."""
    killed: list[int] = []

    def wait_and_kill() -> None:
        while not killed:
            for each in workers()[:1]:
                os.kill(each.pid, signal.SIGKILL)
                killed.append(each.pid)
            time.sleep(0.05)

    threading.Thread(target=wait_and_kill, daemon=True).start()
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--scored", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(arguments.classes, size=arguments.samples)
    centres = rng.normal(size=(arguments.classes, arguments.features))
    dataset = make_dataset(rng.normal(size=(arguments.samples, arguments.features)) + centres[labels], labels)
    settings = make_settings(recipe=Recipe(epochs=arguments.epochs, seeds=1), verify=0)
    rows = np.arange(min(arguments.scored, arguments.samples))

    def timed(backend: Backend) -> tuple[Scores, float]:
        start = time.perf_counter()
        scores, _ = score_dataset(dataset, settings, rows, Stages(False), backend=backend)
        return scores, time.perf_counter() - start

    ray.init(num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with open_backend(Execution(backend="ray")) as cluster:
            timed(cluster)
            shared, seconds_shared = timed(cluster)
            alone, seconds_alone = timed(HERE)
            killed = kill_one()
            after, _ = timed(cluster)
    finally:
        ray.shutdown()
    record = {
        "shape": [dataset.n_samples, dataset.n_features, dataset.n_classes],
        "scored": len(rows),
        "epochs": arguments.epochs,
        "workers": arguments.workers,
        "seconds_one_process": round(seconds_alone, 2),
        "seconds_workers": round(seconds_shared, 2),
        "speed_up": round(seconds_alone / seconds_shared, 2),
        "equal": shared.table.equals(alone.table),
        "killed": len(killed),
        "equal_after_a_kill": after.table.equals(alone.table),
        "cores": os.cpu_count(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
