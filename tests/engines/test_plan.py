"""What a run of the closed form is said to cost: every term of the plan, and what follows from it."""

import pytest
import torch

import lapsi
from lapsi.engines.base import Work
from lapsi.engines.newton import plan as newton_plan
from lapsi.engines.newton.plan import newton_seconds, plan_newton
from lapsi.execution import cost
from lapsi.linalg.matmul import WORTH_SHARING
from lapsi.settings.settings import make_settings

MIB = 2**20
SHAPES = {"n_samples": 50_000, "n_features": 512, "n_classes": 10, "n_units": 50_000}


def plan(curvature="diag", n_samples=50_000, n_features=512, n_classes=10, n_units=50_000, memory_limit=2**45, **choices):
    work = Work(n_samples, n_features + 1, n_classes, n_classes - 1, n_units)
    return plan_newton(work, make_settings("newton", curvature=curvature, memory_limit=memory_limit, **choices))


@pytest.mark.parametrize("curvature", ["diag", "kfac", "full"])
@pytest.mark.parametrize("changed", SHAPES)
def test_more_of_anything_costs_more(curvature, changed):
    small, large = plan(curvature, refine=0), plan(curvature, refine=0, **{changed: 2 * SHAPES[changed]})
    assert sum(large.cost.flop.values()) > sum(small.cost.flop.values())
    assert large.cost.peak_bytes >= small.cost.peak_bytes
    assert all(large.cost.flop[stage] >= flop for stage, flop in small.cost.flop.items())


def test_work_by_stage_is_that_of_the_matrix_products():
    """N samples, D inputs, C classes, P' = (C − 1)·D: what every stage multiplies, two flop a product and sum."""
    n, d, c = 50_000, 513, 10
    free = (c - 1) * d
    step = 4 * 2 * n * d * c + 2 * 150 * n * c  # of two passes, each forwards and backwards, and making what is multiplied
    step += 0.35 * 2 * free**2  # and the product with the inverse
    flop = plan(refine=0, verify=16, dtype="float64").cost.flop
    assert flop["fit"] == 90 * 2 * (2 * n * d * c)  # 90 evaluations, each forwards and backwards
    assert flop["hessian"] == 0.625 * n * free * (free + d) + free**3  # symmetric, in tiles; its inverse
    assert flop["curvature"] == 2 * n * (c * d) * free  # M (C·D, P')
    assert flop["leave-one-out"] == n * (
        2 * free**2 + 50 * c**3 + 2 * (c * d) * free
    )  # the columns of the inverse; M on the shift
    assert flop["verify"] == 5 * 16 * step
    assert plan(refine=2, dtype="float64").cost.flop["leave-one-out"] == flop["leave-one-out"] + n * 2 * step
    narrow = plan(refine=0).cost.flop  # in float32 where it may be, told in flop of float64; M sketched
    assert narrow["hessian"] == 0.625 * n * free * (free + d) / 2 + free**3
    assert plan("full", refine=0).cost.flop["hessian"] == flop["hessian"]
    assert narrow["curvature"] == pytest.approx(0.2 * flop["curvature"] + 3 * 64 * 4 * n * d * c)  # three passes of 64 each
    assert flop["leave-one-out"] - narrow["leave-one-out"] == pytest.approx(0.75 * n * 2 * (c * d) * free)
    pairs = c * (c + 1) // 2
    kfac = plan("kfac", refine=0).cost.flop
    assert kfac["curvature"] == pytest.approx(n * 2 * pairs * free * (1 + 150 / d))  # and making what is multiplied
    assert kfac["leave-one-out"] == n * (2 * free**2 + 50 * c**3 + 2 * pairs * free + 2 * c * d * (d + 9 * c))


def chunk(n, itemsize):
    """What n samples of 129 inputs and 10 classes hold: the columns of the inverse, weights and matrices of the classes.

    A third more, which the allocator keeps.
    """
    held = n * (itemsize * (9 * 9 * 129 + 3 * 10 * 129) + 6 * 8 * 10**2)
    return held + held // 3


def chosen(curvature="diag", refine=0, n_features=128, **choices):
    """The plan where weight decay and scaling are given."""
    known = {"weight_decay": 0.01, "standardize": "each"}
    return plan(curvature, n_features=n_features, refine=refine, **known | choices)


def test_memory_holds_what_is_alive_at_once():
    free, inputs = 9 * 129, 8 * 50_000 * 129
    found, states = 8 * 50_000 * 10, 8 * 50_000 * 10  # outputs of what left, and of the neighbours
    fixed = 430 * MIB + found + 4 * 32 * MIB  # and blocks of rows
    assert chunk(2048, 4) > 128 * MIB  # similarities to all samples; a part of 2,048 samples fits into a chunk
    double, single = fixed + chunk(2048, 8), fixed + chunk(2048, 4)
    twice = 2 * inputs  # in the dtype of the products too, for the neighbours
    assert chosen().cost.peak_bytes == double + twice + states + 8 * free**2 + 8 * free * 10 * 129
    narrow = single + inputs * 3 // 2 + states // 2 + 4 * free**2 + 4 * free * 10 * 129
    assert chosen(dtype="float32").cost.peak_bytes == narrow
    assert chosen(dtype="float32", refine="auto").cost.peak_bytes == narrow
    assert chosen(refine=2).cost.peak_bytes == chosen().cost.peak_bytes - inputs - states
    assert chosen("kfac").cost.peak_bytes == double + twice + states + 8 * free**2 + 8 * 55 * free + 8 * 12 * 100
    wide = 99 * 513
    known = chosen("kfac", n_classes=100, n_features=512, refine=2).cost.peak_bytes
    tiles = 5 * 99 * 100 * 513**2 // 16  # of the upper half of pairs of directions, and in tiles of features
    assert known == 430 * MIB + 8 * 50_000 * 513 + 4 * wide**2 + 4 * tiles + 4 * 32 * MIB
    double = chosen("kfac", n_classes=100, n_features=512, refine=2, weight_decay=1e-3).cost.peak_bytes
    assert double == known + 4 * wide**2 + 4 * tiles + 4 * wide**2


def test_few_features_of_many_classes_are_summed_in_outputs():
    assert newton_plan._fit_bytes(Work(1000, 3, 100, 99, 1), 8) == 4 * 8 * 300**2


def test_fitting_a_sample_anew_costs_no_hessian():
    work = Work(2000, 1281, 10, 9, 1)
    price = newton_plan._price(work)
    assert price.converging < price.fitting < newton_plan._hessian_flop(work) / 10


def test_memory_holds_what_choosing_the_weight_decay_does():
    """The Hessian, its factor and the inverse beside a chunk of columns and blocks of rows."""
    shape = {"n_features": 400, "refine": 0, "dtype": "float32", "n_samples": 5000, "n_units": 500}
    choosing = plan(**shape).cost.peak_bytes
    assert choosing == 430 * MIB + 12 * 5000 * 401 + 3 * 8 * (9 * 401) ** 2 + 128 * MIB + 2 * 32 * MIB
    assert chosen(**shape).cost.peak_bytes < choosing


def test_memory_of_many_samples_and_classes_is_that_of_their_outputs():
    """Outputs without each sample in float64, beside the states of the neighbours, and then the predictions in float32."""
    small, large = (plan("diag", n, 2, 100, n, dtype="float32").cost.peak_bytes for n in (10**6, 2 * 10**6))
    assert large - small == 10**6 * (12 * 3 + 8 * 100 + 4 * 100 + 8 * 100)  # last: of the model with all samples, at the end


def test_small_data_are_converged_large_ones_refined_for_a_share_of_the_cost():
    small = plan(n_samples=500, n_features=20, n_units=500)
    assert (small.details["converges"], small.details["n_refined"]) == (True, 500)
    large = plan(n_samples=100_000, n_units=100_000)
    assert not large.details["converges"]
    assert 0 < large.details["n_refined"] < 100_000
    rest = sum(flop for stage, flop in large.cost.flop.items() if stage not in ("refine", "choose weight decay"))
    assert large.details["budget"] == 0.25 * rest
    assert 0.99 * 0.25 < large.cost.flop["refine"] / rest <= 0.25


def test_what_refining_may_take_is_half_a_minute_at_least():
    middle = plan(n_samples=6000, n_classes=3, n_units=6000)
    assert not middle.details["converges"]
    assert middle.details["budget"] == 2e12
    assert middle.cost.flop["refine"] <= 2e12
    note = middle.notes[0]
    assert note == ("refined to 0.001", "those estimated above it, up to about 6,000 samples (2.0e+12 flop)")
    assert plan(n_samples=6000, n_classes=3, n_units=6000, refine=0).details["budget"] == 0


def test_a_sample_is_corrected_where_that_costs_less_than_converging_it():
    def price(n_samples, n_features, n_classes):
        return newton_plan._price(Work(n_samples, n_features, n_classes, n_classes - 1, 1))

    assert price(50_000, 513, 10).correcting < price(50_000, 513, 10).converging
    assert price(10_000, 21, 10).correcting > price(10_000, 21, 10).converging / 3


def test_the_first_order_change_of_kfac_is_streamed_where_it_takes_too_much_memory_or_time():
    ample = plan("kfac", n_samples=20_000, n_features=16, n_classes=100, n_units=20_000, refine=0)
    assert not ample.details["streams"]
    scarce = plan("kfac", 20_000, 16, 100, 20_000, memory_limit=ample.cost.peak_bytes - MIB, refine=0)
    assert scarce.details["streams"]
    assert scarce.cost.peak_bytes == ample.cost.peak_bytes - 8 * 5050 * 99 * 17
    assert scarce.cost.flop["leave-one-out"] > ample.cost.flop["leave-one-out"]
    assert plan("kfac", n_samples=600, n_features=16, n_classes=300, n_units=600, refine=0).details["streams"]
    assert not plan("diag", 20_000, 16, 100, 20_000, memory_limit=2**40, refine=0).details["streams"]
    assert not plan("kfac", 600, 16, 300, 600, refine=2).details["streams"]  # converged: nothing is to first order


def test_a_streamed_run_gives_the_same_scores(monkeypatch):
    rows = lapsi.score(*_data(), curvature="kfac", refine=0, verify=0, progress=False)
    monkeypatch.setattr(newton_plan, "_streams", lambda *_: True)
    streamed = lapsi.score(*_data(), curvature="kfac", refine=0, verify=0, progress=False)
    assert streamed.provenance.plan["streams"]
    assert abs(streamed.lsi / rows.lsi - 1).max() < 1e-10


def _data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 4
    return (torch.randn(80, 3, generator=generator, dtype=torch.float64) + labels[:, None]).numpy(), labels.numpy()


def test_time_is_that_of_the_products_that_runs_use(monkeypatch):
    """Large enough to be shared out as in a run, on the device of the run."""
    seen = []

    def multiply(left, right):
        seen.append((2 * left.shape[0] * left.shape[1] * right.shape[1], left.device.type))
        return left

    monkeypatch.setattr(cost, "matmul", multiply)
    monkeypatch.setattr(cost, "synchronize", lambda device: seen.append(device.type))
    assert newton_seconds(plan(), cost.speed_of(torch.device("meta"))) > 0
    flop, devices = zip(*(entry for entry in seen if isinstance(entry, tuple)), strict=True)
    assert min(flop) >= WORTH_SHARING
    assert set(devices) == {"meta"}
    assert [entry == "meta" for entry in seen] == 2 * [False, True, False, False, False, True]


def test_a_plan_that_does_not_fit_says_what_takes_the_memory():
    with pytest.raises(lapsi.MemoryLimitError, match=r"needs about 1\.\d GiB.*limit is 1\.0 GiB.*5,130 parameters.*PCA"):
        plan(memory_limit=2**30)


def test_the_check_of_the_removal_form_is_planned_in_float64():
    unchecked, checked = (plan("full", dtype="float32", verify=verify).cost.peak_bytes for verify in (0, 16))
    assert checked - unchecked == 4 * 4 * (9 * 513) ** 2


def test_memory_of_float32_is_told_where_the_weight_decay_assures_it():
    """Conditions of at most D/(2w); whether a looser one suits float32 the data say."""
    narrow, wide = (chosen(n_features=512, n_units=64, weight_decay=decay).cost.peak_bytes for decay in (1e-2, 1e-3))
    entries = (9 * 513) ** 2 + 9 * 513 * 10 * 513  # of the inverse, and of M
    assert wide - narrow >= 4 * entries
    assert chosen(n_features=512, n_units=64, dtype="float64").cost.peak_bytes == wide
