"""The memory that a run may take where the machine has more than its container."""

import ctypes

import psutil
import pytest

from lapsi.execution import cost
from lapsi.execution.memory import available_bytes
from lapsi.execution.progress import Stages
from lapsi.settings.execution import Execution

FREE = 10_000


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": FREE}))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def group_2(root, name, limit, used, cache=0):
    folder = root / "sys/fs/cgroup" / name
    write(folder / "memory.max", limit)
    write(folder / "memory.current", used)
    write(folder / "memory.stat", f"anon 7\ninactive_file {cache}")


def group_1(root, name, limit, used, cache=0):
    folder = root / "sys/fs/cgroup/memory" / name
    write(folder / "memory.limit_in_bytes", limit)
    write(folder / "memory.usage_in_bytes", used)
    write(folder / "memory.stat", f"inactive_file 5\ntotal_inactive_file {cache}")


def test_the_machine_counts_where_no_group_has_a_limit(tmp_path):
    assert available_bytes(tmp_path) == FREE
    write(tmp_path / "proc/self/cgroup", "0::/user.slice/job")
    group_2(tmp_path, "user.slice/job", "max", 900)
    group_1(tmp_path, "", 2**63 - 4096, 10)
    assert available_bytes(tmp_path) == FREE


def test_the_least_of_the_group_and_all_above_it_counts(tmp_path):
    write(tmp_path / "proc/self/cgroup", "0::/user.slice/job/step")
    group_2(tmp_path, "user.slice/job/step", "max", 100)
    group_2(tmp_path, "user.slice/job", 5000, 3000)
    assert available_bytes(tmp_path) == 2000
    group_2(tmp_path, "user.slice", 4000, 3500)
    assert available_bytes(tmp_path) == 500
    group_2(tmp_path, "user.slice/job/step", 3000, 2900)
    assert available_bytes(tmp_path) == 100


def test_file_cache_can_be_given_back(tmp_path):
    write(tmp_path / "proc/self/cgroup", "0::/")
    group_2(tmp_path, "", 5000, 4900, cache=3000)
    assert available_bytes(tmp_path) == 3100


def test_groups_of_version_1_have_limits_too(tmp_path):
    write(tmp_path / "proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/")
    group_1(tmp_path, "docker/abc", 3000, 2000, cache=200)
    assert available_bytes(tmp_path) == 1200
    group_1(tmp_path, "", 900, 700)  # inside a container the path of the group may name nothing, and the root is its own
    assert available_bytes(tmp_path) == 200


def test_groups_beyond_their_limit_have_nothing_left(tmp_path):
    write(tmp_path / "proc/self/cgroup", "0::/")
    group_2(tmp_path, "", 5000, 6000)
    assert available_bytes(tmp_path) == 0


def test_plans_keep_to_a_share_of_what_is_left(monkeypatch):
    monkeypatch.setattr(cost, "available_bytes", lambda: 1000)
    assert cost.memory_limit(Execution()) == 800
    assert cost.memory_limit(Execution(memory_limit=300)) == 300


@pytest.mark.parametrize("has_it", [True, False])
def test_what_a_stage_freed_is_given_back_where_the_allocator_can(monkeypatch, has_it):
    told = []
    library = type("Library", (), {"malloc_trim": lambda _, kept: told.append(kept)} if has_it else {})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library())
    with Stages(show=False).stage("fit"):
        assert told == []
    assert told == [0] * has_it
