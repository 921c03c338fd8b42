"""The workers of a Ray cluster: what all parts need is put once on each machine, and a part whose worker dies is done again.

Workers tell their steps to an actor beside the driver, which moves its bar by them.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, final

# Ray tells standard output of a lost worker, which may be that of --json; read when Ray is loaded
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed while executing a task|Task _run failed")

import ray
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lapsi.errors import BackendError, InputError, LapsiError, first_line
from lapsi.execution.backend import Backend, P, R, Task
from lapsi.execution.cost import GIB
from lapsi.execution.device import device_of
from lapsi.execution.frozen import frozen, thawed
from lapsi.execution.meter import TOLD_SECONDS, Bar, Key, Meter, Steps
from lapsi.execution.progress import Advance
from lapsi.settings.execution import Execution

ON_THIS_MACHINE = "local"
OF_RAY_ITSELF = ("auto", ON_THIS_MACHINE)  # what Ray's variable may hold beside an address
ANSWER_SECONDS = 10.0
# what every server of gRPC answers with its own settings: the preface of HTTP/2 and empty settings
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
TRIES_AGAIN = 10  # of a part, when its worker dies
UNLOADED = "failed to import on the worker"  # what Ray says where the module of a task is missing
AHEAD = 2  # parts that are handed out for each that can be worked on


@contextmanager
def connected(execution: Execution) -> Iterator[RayBackend]:
    """The cluster that the settings name, left again at the end; one that this process is part of already stays.

    Raises:
        InputError: when none answers, or none of its machines can take a worker.
    """
    if ray.is_initialized():
        _require_same(execution.address)
        with _backend(execution) as backend:
            yield backend
        return
    address = execution.address or os.environ.get("RAY_ADDRESS") or ON_THIS_MACHINE
    if execution.address is not None or address not in OF_RAY_ITSELF:
        require_answer(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    except (RuntimeError, ValueError, OSError, AssertionError) as error:
        raise InputError(
            f"Ray cannot be reached ({first_line(error)}). This machine must be one of the cluster, and RAY_AUTH_MODE and "
            "RAY_AUTH_TOKEN must be those of the head where it asks for a token."
        ) from error
    try:
        with _backend(execution) as backend:
            yield backend
    finally:
        ray.shutdown()


def _require_same(address: str | None) -> None:
    """Refuses an address where this process is part of another cluster."""
    connected_to = ray.get_runtime_context().gcs_address
    if address not in (None, connected_to):
        raise InputError(f"address is {address!r}, but this process is connected to Ray at {connected_to}; leave it out.")


def require_answer(address: str) -> None:
    """Asks whether a server of Ray's kind is at HOST:PORT: Ray itself tries for minutes.

    Raises:
        InputError: when none answers within seconds.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise InputError(f"address is {address!r}; expected HOST:PORT of the cluster's head, e.g. 10.0.0.1:6379.")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(GREETING)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise InputError(f"No Ray cluster answers at {address} ({first_line(error)}); is its head running?") from error
    if len(answer) < 4 or answer[3] != SETTINGS_FRAME:
        raise InputError(f"What answers at {address} is no Ray cluster; expected HOST:PORT of its head, e.g. 10.0.0.1:6379.")


@final
@dataclass(frozen=True, slots=True)
class RayBackend(Backend):
    """Parts are tasks of Ray.

    Attributes:
        resources: what each reserves, as Ray's options.
        n_threads: of a worker.
        meter: the actor that workers tell their steps.
    """

    resources: dict[str, float]
    n_threads: int
    meter: Any

    def map(self, task: Task[P, R], parts: Iterable[P], advance: Advance) -> Iterator[tuple[P, R]]:
        """As workers finish them."""
        shared = ray.put(frozen(task))
        run = ray.remote(_run).options(max_retries=TRIES_AGAIN, **self.resources)
        bar, waiting, running = Bar(advance), enumerate(parts), dict[Any, tuple[int, P]]()
        try:
            while True:
                for number, part in islice(waiting, self._room(len(running))):
                    reference = run.remote([shared], part, self.meter, (shared.hex(), number), self.n_threads)
                    running[reference] = (number, part)
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1, timeout=TOLD_SECONDS)
                for reference in ready:
                    number, part = running.pop(reference)
                    result, steps = _result(reference)
                    bar.reach(number, steps)
                    yield part, result
                self._follow(bar, shared.hex())
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _follow(self, bar: Bar, task: str) -> None:
        """Moves the bar by what workers told of the parts of a task."""
        with suppress(RayActorError):  # the bar then moves when parts are finished
            for (own, number), steps in ray.get(self.meter.told.remote()).items():
                if own == task:
                    bar.reach(number, steps)

    def _room(self, n_running: int) -> int:
        """How many parts more are handed out."""
        return max(0, AHEAD * max(1, sum(_fits(node, self.resources) for node in _machines())) - n_running)


def _run(shared: list[Any], part: Any, meter: Any, key: Key, n_threads: int) -> tuple[Any, int]:
    """One part in a worker; an error of lapsi's is a result, so that it arrives as itself."""
    torch.set_num_threads(n_threads)
    steps = Steps(lambda count: meter.tell.remote(key, count))
    try:
        return _started(shared[0])(part, steps), steps.count
    except LapsiError as error:
        return error, steps.count


@lru_cache(maxsize=1)
def _started(shared: Any) -> Callable[[Any, Advance], Any]:
    """What does the parts of a task in this worker, made for the first of them."""
    return thawed(ray.get(shared)).start()


def _result(reference: Any) -> tuple[Any, int]:
    """What a part gave, and its steps."""
    try:
        result, steps = ray.get(reference)
    except RayTaskError as error:
        if UNLOADED in str(error.cause):
            lacking = str(error.cause).strip().splitlines()[-1]
            raise BackendError(f"A machine of the cluster cannot load lapsi ({lacking}); install the same on all.") from error
        raise (error.cause or error) from error
    except RayError as error:
        raise BackendError(
            f"A part of the work was lost {TRIES_AGAIN + 1} times ({first_line(error)}). Its workers may lack memory: see the "
            "logs of Ray, or give each more (--worker-cpus). Finished parts are kept where a run or checkpoint was named."
        ) from error
    if isinstance(result, LapsiError):
        raise result
    return result, steps


@contextmanager
def _backend(execution: Execution) -> Iterator[RayBackend]:
    resources = _resources(execution)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    meter: Any = ray.remote(Meter).options(num_cpus=0, scheduling_strategy=here).remote()
    try:
        yield RayBackend(resources, execution.worker_cpus, meter)
    finally:
        ray.kill(meter)


def _resources(execution: Execution) -> dict[str, float]:
    """What a worker reserves, as Ray's options.

    Raises:
        InputError: when no machine has it.
    """
    resources: dict[str, float] = {"num_cpus": execution.worker_cpus}
    if device_of(execution.device).type == "cuda":
        resources["num_gpus"] = 1
    if execution.memory_limit is not None:
        resources["memory"] = execution.memory_limit
    if not any(_fits(node, resources) for node in _machines()):
        asked = f"{execution.worker_cpus} processors" + (" and a GPU" if "num_gpus" in resources else "")
        asked += f" and {execution.memory_limit / GIB:.1f} GiB" if execution.memory_limit is not None else ""
        raise InputError(f"No machine of the cluster has {asked} for a worker; ask for less, or add one that has.")
    return resources


def _machines() -> list[dict[str, float]]:
    """What each machine of the cluster offers."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _fits(offered: dict[str, float], resources: dict[str, float]) -> int:
    """How many workers a machine takes."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    return min(int(offered.get(names[name], 0) // amount) for name, amount in resources.items())
