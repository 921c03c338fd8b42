"""Stages of a run: a progress bar for each while it runs, and its seconds afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lapsi.execution.memory import give_back

Advance = Callable[[int], None]  # told how many units of work were done since it was told last


@dataclass(frozen=True, slots=True)
class Stages:
    """Shows and times the stages of a run.

    Attributes:
        show: draw progress bars on standard error.
        seconds: wall seconds of every finished stage, by name.
    """

    show: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Tells something beside the bars, where these are drawn."""
        if self.show:
            Console(stderr=True).print(line, highlight=False, markup=False)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Runs one stage; yields the function that reports how many units of work were done. What it freed is given back."""
        start = time.perf_counter()
        with _bar(self.show) as bar:
            task = bar.add_task(name, total=total)
            yield lambda units: bar.update(task, advance=units)
            bar.update(task, total=bar.tasks[0].completed or 1, completed=bar.tasks[0].completed or 1)
        give_back()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def _bar(show: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not show,
    )
