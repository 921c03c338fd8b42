"""Work in parts: what stands in one row does not depend on how samples are shared out, nor on where work was stopped."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lapsi
from lapsi import Recipe
from lapsi.engines.base import shared_out
from lapsi.execution.checkpoint import Checkpoint

N, D, C = 90, 3, 4
QUIET = {"verify": 0, "progress": False, "weight_decay": 0.02}
LSI_FLOAT32 = {"rtol": 2e-5}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(C, size=N)
    X = rng.normal(size=(N, D)) + rng.normal(size=(C, D))[y]
    X[::10] *= rng.standard_t(1.5, size=(N // 10, 1))
    return X, y


@pytest.fixture
def as_large(monkeypatch):
    """Takes data as too many for all samples to be converged to the end."""
    monkeypatch.setattr("lapsi.engines.newton.plan.REFINE_FLOOR", 0)
    monkeypatch.setattr("lapsi.engines.local.plan.CONVERGE_FLOOR", 0)
    for name in ("BUDGET_SHARE", "EXACT_SHARE", "BUDGET_FLOOR"):
        monkeypatch.setattr(f"lapsi.engines.local.plan.{name}", 0)


def small_parts(monkeypatch):
    for name in (
        "newton.steps.PART_UNITS",
        "newton.ridge.PART_UNITS",
        "local.steps.PART_UNITS",
    ):
        monkeypatch.setattr(f"lapsi.engines.{name}", 20)
    monkeypatch.setattr("lapsi.engines.removal.fit.CONVERGED_UNITS", 4)


def test_positions_are_shared_out_in_nearly_equal_runs():
    runs = shared_out(np.arange(10), 4)
    assert [len(run) for run in runs] == [4, 3, 3]
    assert_array_equal(np.concatenate(runs), np.arange(10))
    assert shared_out(np.arange(0), 4) == []


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": 1e-3},
        {"tolerance": 1e-5, "curvature": "kfac"},
        {"refine": 0},
        {"refine": 2},
        {"engine": "local", "converge": 11},
        {"task": "regression", "noise_removal": "anew"},
    ],
    ids=str,
)
def test_parts_give_the_same_rows(data, monkeypatch, as_large, options):
    whole = lapsi.score(*data, **options, **QUIET)
    small_parts(monkeypatch)
    parts = lapsi.score(*data, **options, **QUIET)
    assert_allclose(parts.lsi, whole.lsi, **LSI_FLOAT32)
    if "refinement" in whole.table:
        assert_array_equal(parts.table["refinement"], whole.table["refinement"])


def test_the_highest_of_all_samples_are_converged(data, monkeypatch, as_large):
    small_parts(monkeypatch)
    closed = lapsi.score(*data, engine="local", **QUIET)
    scores = lapsi.score(*data, engine="local", converge=7, tolerance=1e-6, **QUIET)
    converged = np.flatnonzero(scores.table["refinement"] == "converged")
    assert set(converged) == set(np.argsort(-closed.lsi)[:7])


def test_the_budget_is_that_of_all_samples(data, monkeypatch, as_large):
    """What is refined within a budget that does not reach all is what the largest errors of all ask for."""
    monkeypatch.setattr("lapsi.engines.newton.plan.BUDGET_FLOOR", 2e7)
    monkeypatch.setattr("lapsi.engines.newton.plan.BUDGET_SHARE", 0)
    whole = lapsi.score(*data, tolerance=1e-6, **QUIET)
    small_parts(monkeypatch)
    parts = lapsi.score(*data, tolerance=1e-6, **QUIET)
    refined = whole.table["refinement"] != "closed form"
    assert 0 < refined.sum() < N
    assert_array_equal(parts.table["refinement"], whole.table["refinement"])


@pytest.mark.parametrize(
    ("options", "n_kept"),
    [({"tolerance": 1e-5}, 2), ({"tolerance": 1e-5}, 6), ({"engine": "local", "converge": 11}, 6), ({"refine": 0}, 1)],
    ids=str,
)
def test_closed_forms_go_on_from_their_parts_bit_by_bit(data, monkeypatch, as_large, tmp_path, options, n_kept):
    small_parts(monkeypatch)
    whole = lapsi.score(*data, **options, **QUIET)
    save, saved = Checkpoint.save, []

    def stop(self, name, arrays):
        if len(saved) == n_kept:
            raise KeyboardInterrupt
        saved.append(name)
        save(self, name, arrays)

    monkeypatch.setattr(Checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        lapsi.score(*data, checkpoint=tmp_path / "parts", **options, **QUIET)
    monkeypatch.setattr(Checkpoint, "save", save)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "parts").glob("*.npz")}
    assert len(files) == n_kept
    again = lapsi.score(*data, checkpoint=tmp_path / "parts", **options, **QUIET)
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in files.items())


def test_parts_of_other_samples_are_named(data, monkeypatch, tmp_path):
    small_parts(monkeypatch)
    options = {"refine": 0, "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score(*data, **options)
    first, second = (tmp_path / "parts" / f"seed0-part0000{number}.npz" for number in (0, 1))
    second.write_bytes(first.read_bytes())
    with pytest.raises(lapsi.InputError, match=r"seed0-part00001\.npz is damaged \(positions"):
        lapsi.score(*data, **options)


def test_a_recipe_of_one_seed_and_parts_keeps_its_order(data, monkeypatch):
    options = {"recipe": Recipe(epochs=3, seeds=1), "dtype": "float64", **QUIET}
    whole = lapsi.score(*data, **options)
    monkeypatch.setattr("lapsi.engines.retrain.plan.MOST_MODELS", 40)
    assert_allclose(lapsi.score(*data, **options).lsi, whole.lsi, rtol=1e-9)
