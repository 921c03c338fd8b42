"""The engine where it is left to the data: newton, or local where that does not fit or takes very much longer."""

import numpy as np
import pytest

import lapsi
from lapsi.data.dataset import make_dataset
from lapsi.engines.base import Work, work_of
from lapsi.engines.choose import chosen_engine, make_engine
from lapsi.settings.engine import Auto, Local, Newton, Retrain
from lapsi.settings.settings import make_settings

SMALL = Work(1000, 21, 10, 9, 1000)
CIFAR100 = Work(50_000, 513, 100, 99, 50_000)
SLOW = Work(60_000, 65, 200, 199, 60_000)


def chosen(work, **choices):
    return chosen_engine(make_settings(memory_limit=2**34, **choices), work)


def test_small_data_are_left_to_newton():
    found = chosen(SMALL)
    assert found.settings.engine == Newton()
    assert found.record() == {}


def test_what_does_not_fit_is_left_to_local():
    found = chosen(CIFAR100)
    assert found.settings.engine == Local()
    assert "newton does not fit: This run needs about 58" in found.record()["why"]
    assert found.settings.is_open
    assert chosen(CIFAR100, curvature="kfac").settings.engine == Local()


def test_what_takes_very_much_longer_is_left_to_local():
    found = chosen_engine(make_settings(memory_limit=2**40), SLOW)
    assert found.settings.engine == Local()
    assert "times as long" in found.reason


@pytest.mark.parametrize("choices", [{"curvature": "full"}, {"dtype": "float64"}])
def test_what_local_does_not_offer_is_left_to_newton(choices):
    assert chosen(CIFAR100, **choices).settings.engine == Newton()


def test_neither_fits():
    with pytest.raises(lapsi.MemoryLimitError, match="outputs that are solved together"):
        chosen_engine(make_settings(memory_limit=2**29), CIFAR100)


@pytest.mark.parametrize(
    ("choices", "kind"),
    [({"refine": 2}, Newton), ({"coupled": 4}, Local), ({"every": 1}, Retrain), ({"hidden": (3,)}, Retrain)],
)
def test_options_say_which(choices, kind):
    settings = make_settings(**choices)
    assert isinstance(settings.engine, kind)
    assert chosen_engine(settings, SMALL).settings == settings


def test_no_option_leaves_it_to_the_data():
    assert make_settings().engine == Auto()


@pytest.mark.slow
def test_a_run_tells_why():
    rng = np.random.default_rng(0)
    y = rng.integers(40, size=230)
    X = rng.normal(size=(230, 200)) + 2 * rng.normal(size=(40, 200))[y]
    work = work_of(make_dataset(X, y), len(y))
    settings = (make_settings(engine, memory_limit=2**40) for engine in ("newton", "local"))
    larger, smaller = (make_engine(each).plan(work).cost.peak_bytes for each in settings)
    assert smaller < 0.9 * larger
    scores = lapsi.score(X, y, memory_limit=(larger + smaller) // 2, verify=0, progress=False)
    assert scores.provenance.engine == "local"
    assert "newton does not fit" in scores.provenance.plan["why"]
    assert lapsi.score(X[:50], y[:50] % 3, progress=False).provenance.engine == "newton"
