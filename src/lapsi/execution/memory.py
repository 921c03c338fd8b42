"""How much memory a run may still take: of the machine, and of the container it runs in; and giving back what is free."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

# controller in /proc/self/cgroup ("" in version 2): folder of the tree, limit, usage, what of the usage can be given back
CGROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that is free on the machine, or what is left of a control group's limit where that is less.

    Args:
        root: where /proc and /sys stand.
    """
    return min([psutil.virtual_memory().available, *_left_in_cgroups(root)])


def give_back() -> None:
    """Returns to the system what was freed and the allocator keeps: glibc's keeps freed arrays of less than 32 MiB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _left_in_cgroups(root: Path) -> Iterator[int]:
    """What every group that this process is in, and all above it, has left of its limit (cgroups of version 1 and 2)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        for controller in {*controllers.split(",")} & CGROUPS.keys():
            folder, *files = CGROUPS[controller]
            group = PurePosixPath(name)
            for above in (group, *group.parents):
                left = _left(root / folder / above.relative_to("/"), *files)
                if left is not None:
                    yield left


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Limit less usage, the file cache that can be given back not counted; None where there is no limit."""
    try:
        allowed, used = int((group / limit).read_text()), int((group / usage).read_text())
        cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return max(0, allowed - used + int(cache.get(reclaimable, 0)))
