"""Where parts of some work are done: one after another in this process, or by the workers of a Ray cluster.

A `Task` holds what all parts need; a backend makes it ready once in each process that works on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Generic, TypeVar, final

from lapsi.errors import InputError
from lapsi.execution.progress import Advance
from lapsi.settings.execution import LOCAL, Execution

P = TypeVar("P")
R = TypeVar("R")


class Task(ABC, Generic[P, R]):
    """Work whose parts can be done anywhere, in any order, and again."""

    @abstractmethod
    def start(self) -> Callable[[P, Advance], R]:
        """What does one part, and tells its steps; made once in each process that works on it."""


class Backend(ABC):
    """Does the parts of a task."""

    @abstractmethod
    def map(self, task: Task[P, R], parts: Iterable[P], advance: Advance) -> Iterator[tuple[P, R]]:
        """Each part with its result, as they are finished; `advance` is told every step of each part once.

        Parts are taken when there is somebody to work on them.

        Raises:
            What a part raises.
            BackendError: when parts cannot be finished for other reasons.
        """


@final
@dataclass(frozen=True, slots=True)
class LocalBackend(Backend):
    """One part after another, in this process."""

    def map(self, task: Task[P, R], parts: Iterable[P], advance: Advance) -> Iterator[tuple[P, R]]:
        """In the order of the parts."""
        work = task.start()
        for part in parts:
            yield part, work(part, advance)


HERE = LocalBackend()


@contextmanager
def open_backend(execution: Execution) -> Iterator[Backend]:
    """What the settings ask for, connected as long as the context lasts.

    Raises:
        InputError: when Ray is not installed, or no cluster answers.
    """
    if execution.backend == LOCAL:
        yield HERE
        return
    if find_spec("ray") is None:
        raise InputError("backend is 'ray', but Ray is not installed; install it: pip install 'lapsi[ray]'.")
    from lapsi.execution.ray import connected

    with connected(execution) as backend:
        yield backend
