"""Stages of a run: a progress bar for each while it runs (lines where no terminal shows one), and its seconds afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

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

LINE_SECONDS = 10.0  # between two lines
PLACE = 78  # letters of a line that is written over
Advance = Callable[[int], None]  # told how many units of work were done since it was told last


@dataclass(frozen=True, slots=True)
class Stages:
    """Shows and times the stages of a run.

    Attributes:
        show: draw progress bars on standard error, or write lines there where it is no terminal.
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
        console = Console(stderr=True)
        if not self.show:
            yield lambda units: None
        elif _draws_bars(console):
            with _bar(console) as bar:
                task = bar.add_task(name, total=total)
                yield lambda units: bar.update(task, advance=units)
                bar.update(task, total=bar.tasks[0].completed or 1, completed=bar.tasks[0].completed or 1)
        else:
            lines = Lines(name, total, _teller(console.is_jupyter))
            yield lines
            lines.end()
        give_back()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Lines:
    """How far a stage is, in a line now and then: for logs, and for notebooks without widgets."""

    def __init__(self, name: str, total: int | None, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        """`tell` is given each line; `clock`: in seconds."""
        self._name, self._total, self._tell, self._clock = name, total, tell, clock
        self._done, self._start = 0, clock()
        self._last = self._start

    def __call__(self, units: int) -> None:
        """So many more units are done."""
        self._done += units
        now = self._clock()
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        passed = now - self._start
        if not self._total:
            self._tell(f"{self._name}: {self._done:,} done, {_in_words(passed)} so far")
            return
        rest = passed * (self._total - self._done) / max(self._done, 1)
        share = f"{self._done:,} of {self._total:,} ({self._done / self._total:.0%})"
        self._tell(f"{self._name}: {share}, {_in_words(passed)} so far, about {_in_words(rest)} left")

    def end(self) -> None:
        """All are done."""
        self._tell(f"{self._name}: done in {_in_words(self._clock() - self._start)}")


def _in_words(seconds: float) -> str:
    """E.g. "2.1 s" or "3 min 20 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _draws_bars(console: Console) -> bool:
    """Whether bars that move can be seen: in a terminal, and in a notebook that has its widgets."""
    return find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal


def _teller(in_place: bool) -> Callable[[str], None]:
    """Writes lines to standard error, in a notebook each over the one before."""
    if in_place:
        return lambda line: print(f"\r{line:<{PLACE}}", end="", file=sys.stderr, flush=True)
    console = Console(stderr=True, soft_wrap=True)
    return lambda line: console.print(line, highlight=False, markup=False)


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
