"""Accuracy on request: rows above the tolerance are refined, the largest errors first; those out of reach are marked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import lapsi
import oracles
from lapsi.engines.newton import plan
from lapsi.engines.removal import chord
from lapsi.engines.removal.base import Compared
from lapsi.engines.removal.fit import ClosedFormFit, Course
from lapsi.engines.removal.streams import FLOOR
from lapsi.engines.removal.tolerance import HIGHEST_SHARE, Missing, Price, Probe, Refinement
from lapsi.execution.checkpoint import OURS
from lapsi.problem.removed import CLOSED_FORM

N, CLASSES, WEIGHT_DECAY = 90, 3, 0.02
QUIET = {"weight_decay": WEIGHT_DECAY, "standardize": "each", "verify": 0, "progress": False}


@pytest.fixture(scope="module")
def data():
    """Classes that overlap, and a tenth of the rows far out."""
    rng = np.random.default_rng(3)
    y = rng.integers(CLASSES, size=N)
    X = rng.normal(size=(N, 3)) + rng.normal(size=(CLASSES, 3))[y]
    X[::10] *= rng.standard_t(1.5, size=(N // 10, 1))
    return X, y


@pytest.fixture(scope="module")
def expected(data):
    """LSI (N,) of a structure, by retraining."""
    X, y = data
    inputs = np.c_[(X - X.mean(0)) / X.std(0), np.ones(N)]
    return {
        structure: np.array([sum(oracles.lsi(structure, inputs, y, CLASSES, WEIGHT_DECAY, i)) for i in range(N)])
        for structure in ("diag", "kfac")
    }


@pytest.fixture
def as_large(monkeypatch):
    """Takes data as too many for all samples to be converged to the end."""
    monkeypatch.setattr(plan, "REFINE_FLOOR", 0)


def errors_of(scores, expected):
    return abs(scores.lsi / expected - 1)


@pytest.mark.parametrize("structure", ["diag", "kfac"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
def test_rows_above_the_tolerance_are_refined_until_below(data, expected, as_large, structure, tolerance):
    closed = lapsi.score(*data, curvature=structure, refine=0, **QUIET)
    assert (errors_of(closed, expected[structure]) > tolerance).sum() > 5
    scores = lapsi.score(*data, curvature=structure, tolerance=tolerance, **QUIET)
    assert errors_of(scores, expected[structure]).max() <= tolerance
    assert scores.table["lsi_error"].max() <= tolerance
    assert scores.provenance.plan["n_above"] == 0
    refined = scores.table["refinement"] == "converged"
    assert_array_equal(refined, closed.table["lsi_error"] > tolerance)


def test_a_looser_tolerance_refines_fewer_rows(data, as_large):
    counts = [
        (lapsi.score(*data, tolerance=tolerance, **QUIET).table["refinement"] == "converged").sum()
        for tolerance in (3e-2, 1e-3)
    ]
    assert 0 < counts[0] < counts[1]


def test_estimates_are_honest(data, expected, as_large):
    closed = lapsi.score(*data, refine=0, **QUIET)
    ratios = errors_of(closed, expected["diag"]) / closed.table["lsi_error"]
    assert (ratios <= 1).mean() > 0.95
    assert ratios.max() < 3
    assert ratios.max() > 0.3


@pytest.mark.parametrize("affordable", [1, 10])
def test_what_the_budget_does_not_reach_is_marked(data, expected, as_large, monkeypatch, affordable):
    monkeypatch.setattr("lapsi.engines.newton.engine.price_of", lambda problem: Price(2.0, 1.0, 1.0))
    monkeypatch.setattr(plan, "BUDGET_SHARE", 0)
    monkeypatch.setattr(plan, "BUDGET_FLOOR", affordable)
    closed = lapsi.score(*data, refine=0, **QUIET).table["lsi_error"].to_numpy()
    scores = lapsi.score(*data, **QUIET)
    left = scores.table["lsi_error"].to_numpy() > 1e-3
    largest = np.argsort(-closed)[:affordable]
    assert_array_equal(np.flatnonzero(scores.table["refinement"] == "converged"), np.sort(largest))
    assert errors_of(scores, expected["diag"])[largest].max() <= 1e-3
    assert_array_equal(left, (closed > 1e-3) & ~np.isin(np.arange(N), largest))
    assert scores.provenance.plan["n_above"] == left.sum() > 0


def test_samples_whose_steps_do_not_contract_are_fitted_anew_where_the_budget_reaches(data, expected, as_large, monkeypatch):
    monkeypatch.setattr(chord, "CHORD_STEPS", 1)  # too few for most
    closed = lapsi.score(*data, refine=0, **QUIET).table["lsi_error"].to_numpy()
    assert closed.min() > 1e-3  # where nothing contracts, nothing is known
    scores = lapsi.score(*data, **QUIET)
    fitted = scores.table["lsi_error"] < 1e-6
    assert fitted.sum() > 5
    assert errors_of(scores, expected["diag"])[fitted].max() < 1e-6
    monkeypatch.setattr("lapsi.engines.newton.engine.price_of", lambda problem: Price(2.0, 1.0, N))
    monkeypatch.setattr(plan, "BUDGET_SHARE", 0)
    monkeypatch.setattr(plan, "BUDGET_FLOOR", 2 * N)
    scarce = lapsi.score(*data, **QUIET).table
    first = np.flatnonzero(fitted)[np.argmax(closed[fitted])]
    assert_array_equal(np.flatnonzero(scarce["lsi_error"] < 1e-6), [first])
    assert set(scarce["refinement"][fitted].drop(first)) == {"closed form"}
    assert (scarce["lsi_error"][fitted].drop(first) > 1e-3).all()


@pytest.mark.parametrize("asked", [0, 3])
def test_a_part_of_the_budget_is_for_the_highest_lsi(asked):
    """Whose estimated errors need not be the largest: those of 100 rows are the higher the lower LSI is."""
    lsi, errors = np.arange(1.0, 101.0), np.linspace(0.2, 0.1, 100)
    budget = 40.0
    missing = Missing(floor=0.0, closed=1.0, corrected=1e-6, by_correction=1.0, by_square=1.0)
    refinement = Refinement(None, None, object(), missing, 1e-3, Price(0.5, 1.0, 1e9), budget, asked)
    corrected = refinement.to_correct(errors, np.ones(100))
    assert_array_equal(corrected, np.arange(int(0.95 * budget / 0.5)))
    left = errors.copy()
    left[corrected] = 0
    highest = refinement.highest_left(left, lsi, [])
    others, n_fits = refinement.others(left, lsi, len(corrected))
    n_first = int(HIGHEST_SHARE * budget)
    assert_array_equal(np.sort(highest), np.arange(100 - asked, 100))
    assert_array_equal(np.sort(others), np.arange(100 - asked - n_first, 100 - asked))
    assert n_fits == 0


def test_samples_that_others_leave_among_the_highest_are_converged_too():
    """A closed form may be lower than all that were converged, and higher than what they then turned out to be.

    Each of them may be fitted anew, and of the others as many as the budget leaves.
    """
    missing = Missing(floor=0.0, closed=1.0, corrected=1.0, by_correction=1.0, by_square=1.0)
    refinement = Refinement(None, None, None, missing, 1e-3, Price(np.inf, 1.0, 1e9), 0.0, 2)
    fit = ClosedFormFit(SimpleNamespace(part_units=4), None, Course(CLOSED_FORM, 0, 1e-3, True), refinement, {})
    lsi, errors = np.arange(10.0), np.full(10, 0.1)
    found = {"lsi_mean": lsi[None], "lsi_curvature": np.zeros((1, 10)), "lsi_error": errors, "output_change": np.ones(10)}
    done, rounds, saved = fit.parts(10), [], []
    while parts := fit.further(done, found, saved.append):
        chosen = np.concatenate([part.positions for part in parts])
        rounds.append(sorted(chosen))
        assert [part.allowance for part in parts] == [len(part.positions) for part in parts]
        lsi[chosen] -= 2.5  # of each that is converged
        errors[chosen] = 0
        done += parts
    assert rounds == [[8, 9], [7], [6]]  # 9, 8 become 6.5, 5.5; 7 becomes 4.5, 6 then 3.5, and 6.5, 5.5 are the highest
    names = [part.name for part in done]
    assert len(set(names)) == len(names)
    assert all(OURS.fullmatch(f"{name}.npz") for name in names)  # else they are not cleared away
    assert sum(saved) + 4 == fit.later_steps(10)


def test_others_of_which_a_fit_was_lacking_are_fitted_where_they_come_to_be_among_the_highest():
    missing = Missing(floor=0.0, closed=1.0, corrected=1.0, by_correction=1.0, by_square=1.0)
    refinement = Refinement(None, None, None, missing, 1e-3, Price(np.inf, 1.0, 10.0), 13.0, 2)
    fit = ClosedFormFit(SimpleNamespace(part_units=10), None, Course(CLOSED_FORM, 0, 1e-3, True), refinement, {})
    lsi, errors = np.arange(6.0), np.full(6, 0.1)
    found = {"lsi_mean": lsi[None], "lsi_curvature": np.zeros((1, 6)), "lsi_error": errors, "output_change": np.ones(6)}
    done = fit.parts(6)
    highest, others = fit.further(done, found, lambda _: None)
    assert (sorted(highest.positions), highest.allowance) == ([4, 5], 2)
    assert (sorted(others.positions), others.allowance) == ([0, 1, 2, 3], 0)
    lsi[[4, 5]], errors[[4, 5]] = 0.5, 0  # the others found no fit
    (again,) = fit.further([*done, highest, others], found, lambda _: None)
    assert (sorted(again.positions), again.allowance) == ([2, 3], 2)


@pytest.mark.parametrize(("factor", "n_steps", "arrives"), [(0.3, 5, True), (0.9, 2, False)])
def test_steps_that_cannot_arrive_stop_early(monkeypatch, factor, n_steps, arrives):
    """Each leaves a share of what was missing; sixteen of 0.9 leave a fifth, though the last of them is small itself."""
    optimum, taken = torch.full((1, 2, 2), 10.0, dtype=torch.float64), []
    step = SimpleNamespace(compared=lambda change, shift: Compared(change.norm()[None] / shift.norm(), torch.ones(1)))
    removal = SimpleNamespace(step=step, newton_step=lambda: optimum + 1.0)
    monkeypatch.setattr(chord, "chord_step", lambda _, shift: taken.append(1) or (1 - factor) * (shift - optimum))
    came = chord.approach(removal, 3e-3 if factor == 0.9 else 1e-3)
    assert len(taken) == n_steps
    assert bool(came.remaining.isfinite()) == arrives
    if arrives:
        assert float((came.shift / optimum - 1).abs().max()) <= float(came.remaining) <= 1e-3


def test_small_data_are_converged_to_the_end_whatever_the_tolerance(data, expected):
    scores = lapsi.score(*data, tolerance=0.1, **QUIET)
    assert set(scores.table["refinement"]) == {"converged"}
    assert errors_of(scores, expected["diag"]).max() <= 1e-4
    assert lapsi.score(*data, tolerance=1e-7, **QUIET).table["lsi_error"].max() <= 1e-7


def test_lsi_that_moves_faster_than_the_shift_is_refined_further(monkeypatch):
    """Where rows of large weight leave, the variance of others moves far: twice what is missing of the shift is too little."""
    rng = np.random.default_rng(3)
    y = rng.integers(6, size=400)
    X = rng.normal(size=(400, 10)) + rng.normal(size=(6, 10))[y]
    y = np.where(rng.random(400) < 0.05, rng.integers(6, size=400), y)
    heavy = rng.random(400) < 0.1
    X[heavy] *= rng.standard_t(1.5, size=(heavy.sum(), 1))
    options = {**QUIET, "weight_decay": 1e-3}
    exact = lapsi.score(X, y, tolerance=1e-8, **options).lsi
    monkeypatch.setattr(plan, "REFINE_FLOOR", 0)
    assert abs(lapsi.score(X, y, **options).lsi / exact - 1).max() <= 1e-3
    monkeypatch.setattr(
        "lapsi.engines.removal.tolerance._steepness", lambda removal, *_: torch.ones(len(removal.rows)).double()
    )
    assert abs(lapsi.score(X, y, **options).lsi / exact - 1).max() > 1e-3


def test_what_every_shift_misses_is_no_share_of_how_far_it_moves():
    rng = np.random.default_rng(0)
    moved = torch.tensor(10.0 ** rng.uniform(-6, 0, size=64))
    cut = torch.tensor(3e-4 * rng.uniform(size=64))
    closed, corrected, once = cut + 0.01 * moved, cut + 0.001 * moved, 0.5 * moved.square()
    probe = Probe(moved, moved / 10, moved, closed, corrected, once)
    missing = probe.missing(leaves_out=True, is_whole=True)
    assert (missing.of_closed(moved) >= closed).all()
    assert (missing.of_corrected(moved / 10) >= corrected).all()
    assert missing.of_closed(moved).median() <= 3.2e-4 + FLOOR
    assert missing.of_closed(moved).max() <= 3.2e-4 + FLOOR + 0.0101
    assert probe.missing(leaves_out=False, is_whole=True).of_closed(moved).median() > 0.01
    assert probe.missing(leaves_out=True, is_whole=False).by_square == np.inf
