"""What work will cost, told before it starts; refuses what does not fit into memory."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from lapsi.errors import MemoryLimitError
from lapsi.execution.device import device_of, synchronize
from lapsi.execution.memory import available_bytes
from lapsi.linalg.matmul import matmul
from lapsi.settings.execution import Execution

GIB = 2**30
LIBRARIES_BYTES = 430 * 2**20
AVAILABLE_SHARE = 0.8
CALIBRATION_SIZE = 1024  # large enough for the products that runs use


@dataclass(frozen=True, slots=True)
class Speed:
    """Flop a second of large matrix products.

    Attributes:
        float64, float32: in each.
    """

    float64: float
    float32: float


TWO_CORES = Speed(5e10, 1e11)  # of an AMD EPYC: what choices are made by, so that they are equal everywhere


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a run, estimated from its shape.

    Attributes:
        peak_bytes: memory at the peak.
        limit_bytes: what it may be.
        flop: floating point operations by stage.
    """

    peak_bytes: int
    limit_bytes: int
    flop: dict[str, float]

    def seconds(self, speed: Speed, shares: Mapping[str, float], in_float32: Collection[str]) -> float:
        """Estimated wall time, where each stage reaches a share of the speed in its precision."""
        rates = {stage: share * (speed.float32 if stage in in_float32 else speed.float64) for stage, share in shares.items()}
        return sum(flop / rates[stage] for stage, flop in self.flop.items())

    def require_memory(self, reason: str) -> None:
        """Refuses a run that does not fit.

        Raises:
            MemoryLimitError: with the numbers and `reason`, which says what takes the memory and what to do.
        """
        if self.peak_bytes > self.limit_bytes:
            raise MemoryLimitError(
                f"This run needs about {self.peak_bytes / GIB:.1f} GiB at its peak, the limit is "
                f"{self.limit_bytes / GIB:.1f} GiB. {reason}"
            )


def memory_limit(execution: Execution) -> int:
    """Bytes that a run may use at its peak: as asked, or a share of what is free."""
    device = device_of(execution.device)
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    available = torch.cuda.mem_get_info(device)[0] if on_gpu else available_bytes()
    return int(execution.memory_limit or AVAILABLE_SHARE * available)


def speed_of(device: torch.device) -> Speed:
    """That of a device of this machine, measured in a moment."""
    return Speed(flop_rate(torch.float64, device), flop_rate(torch.float32, device))


def flop_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Flop a second of large matrix products on a device, measured."""
    matrix = torch.ones(CALIBRATION_SIZE, CALIBRATION_SIZE, dtype=dtype, device=device)
    matmul(matrix, matrix)
    synchronize(device)
    start = time.perf_counter()
    for _ in range(3):
        matmul(matrix, matrix)
    synchronize(device)
    return 3 * 2 * CALIBRATION_SIZE**3 / (time.perf_counter() - start)


def duration(seconds: float) -> str:
    """In words."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
