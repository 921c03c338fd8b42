"""Where the work runs, within which limits, and how far it is checked."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.errors import InputError
from lapsi.settings.option import Choice, Integer, Name, Size, check_options, option

DTYPES = ("float32", "float64")
MACHINES = "Many machines"
WORKERS = ("backend", "address", "worker_cpus")  # fields that say who does the work, and change none of it
LARGEST_SEED = 2**62
BACKENDS = LOCAL, RAY = ("local", "ray")
DEVICE_HELP = "torch device, e.g. cpu or cuda; default: cpu."


@dataclass(frozen=True, slots=True)
class Execution:
    """Device, precision, limits, checks, seed and machines.

    Attributes:
        verify: number of samples checked the slow way; 0 turns the check off. `Newton`: against converged leave-one-out optima;
            `Retrain`: against one model each that is trained alone in float64 (2, or a twentieth of the samples if more).
        device: torch device; None means the CPU.
        dtype: of the large matrix products, `"float32"` or `"float64"`. None takes float32, with `Newton` where the
            conditioning allows. What is factorised or subtracted is float64 always.
        seed: of the draw of verified samples; with `Retrain` also of initial weights, batches and noise.
        memory_limit: bytes that the run may use at its peak; None means 80 % of what is free, in the container if there is one.
            With backend `"ray"` every worker reserves as much.
        backend: who leaves samples out and makes features: `"local"`, this process; `"ray"`, the workers of a Ray cluster (the
            extra `ray`). Rows are the same.
        address: of the cluster's head, HOST:PORT; None: what the variable RAY_ADDRESS says, or else the processors of this
            machine alone.
        worker_cpus: processors of a worker of Ray; a machine has as many workers as that allows.
    """

    verify: int = option(16, Integer(0), "Samples whose score is checked the slow way; 0: none.")
    device: str | None = option(None, Name(), DEVICE_HELP)
    dtype: str | None = option(
        None, Choice(DTYPES, optional=True), "Of the large products; auto: float32 (newton: if well conditioned)."
    )
    seed: int = option(0, Integer(0, below=LARGEST_SEED), "Of verified samples, initial weights, batches and noise.")
    memory_limit: int | None = option(None, Size(), "Peak memory, e.g. 8G or 500M; default: 80 % of what is free.")

    backend: str = option(LOCAL, Choice(BACKENDS), "local: this process; ray: the workers of a Ray cluster.", panel=MACHINES)
    address: str | None = option(None, Name(), "ray: HOST:PORT of the head. Default: this machine alone.", panel=MACHINES)
    worker_cpus: int = option(1, Integer(1), "ray: processors of a worker.", panel=MACHINES)

    def __post_init__(self) -> None:
        check_options(self)
        for name, value in (("address", self.address), ("worker_cpus", None if self.worker_cpus == 1 else self.worker_cpus)):
            if self.backend != RAY and value is not None:
                raise InputError(f"{name} is {value!r} but backend is {self.backend!r}; leave it out, or use backend 'ray'.")
