"""What leaving groups out is said to cost, and by which matrix each group is taken."""

import pytest
import torch

import lapsi
from lapsi.engines.base import Work
from lapsi.engines.groups import plan as plan_module
from lapsi.engines.groups.plan import (
    RATES,
    chunks_of,
    factor_flop,
    goes_by_update,
    groups_seconds,
    plan_groups,
    unit_bytes,
    update_flop,
)
from lapsi.settings.settings import make_settings

WORK = Work(5856, 513, 3, 2, 2790)
SIZES = [1 + position % 8 for position in range(2790)]


def plan(work=WORK, sizes=SIZES, curvature="diag", **choices):
    return plan_groups(work, sizes, make_settings(curvature=curvature, **choices))


def test_small_groups_go_by_an_update_and_large_ones_by_a_factor():
    assert goes_by_update(WORK, 1)
    assert goes_by_update(WORK, 50)
    assert not goes_by_update(WORK, 400)  # of rank 800 beside 1,026 parameters
    assert update_flop(WORK, 400) > factor_flop(WORK, 400)
    assert not goes_by_update(Work(50, 2000, 3, 2, 5), 10)  # a fifth of the data: the L2 strength is another


def test_every_group_is_in_one_chunk_that_fits(monkeypatch):
    monkeypatch.setattr(plan_module, "CHUNK_BYTES", 40 * 2**20)
    sizes = [*SIZES, 900, 300, 2000, 2001]
    seen = []
    for by_update, positions in chunks_of(WORK, sizes):
        taken = [sizes[position] for position in positions]
        assert all(goes_by_update(WORK, size) == by_update for size in taken)
        assert len(taken) == 1 or len(taken) * unit_bytes(WORK, max(taken), by_update) <= 40 * 2**20
        seen += positions
    assert sorted(seen) == list(range(len(sizes)))


def test_the_plan_counts_what_goes_which_way():
    assert plan(sizes=[1, 5, 400, 900]).details == {"by_update": 2, "by_factor": 2}


@pytest.mark.parametrize("curvature", ["diag", "kfac", "full"])
def test_more_groups_take_more_time(curvature, monkeypatch):
    monkeypatch.setattr(plan_module, "flop_rate", lambda dtype, device: 1e10)
    few, many = (plan(sizes=sizes, curvature=curvature, verify=0) for sizes in (SIZES[:200], SIZES[:2000]))
    for stage in ("steps", "curvature"):
        assert many.cost.flop[stage] == pytest.approx(10 * few.cost.flop[stage])
    seconds = [groups_seconds(each, torch.device("cpu")) for each in (few, many)]
    rest = sum(few.cost.flop[stage] / (RATES[stage] * 1e10) for stage in ("fit", "hessian"))
    assert seconds[1] - rest == pytest.approx(10 * (seconds[0] - rest))


def test_checks_are_part_of_the_plan():
    assert plan(verify=0).cost.flop["verify"] == 0
    assert plan(verify=99).cost.flop["verify"] == plan(verify=3).cost.flop["verify"] == 3 * plan(verify=1).cost.flop["verify"]


def test_what_does_not_fit_is_refused():
    with pytest.raises(lapsi.MemoryLimitError, match=r"needs about .* GiB .* 1,026 parameters .* reduce the features"):
        plan(memory_limit=2**29)
    assert plan(curvature="full").cost.peak_bytes > plan().cost.peak_bytes
    many = Work(1_000_000, 513, 3, 2, 1)
    assert plan(many, [90_000]).cost.peak_bytes > plan(many, [1]).cost.peak_bytes  # one group may be larger than a chunk
