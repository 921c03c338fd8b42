"""Each structure at the converged leave-one-out optimum, against retraining and dense matrices."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.curvature import kron
from lapsi.curvature.base import EXACT, REMOVAL_FORM
from lapsi.curvature.linear import first_order_curvature, settled_curvature
from lapsi.engines.newton.steps import DenseStep
from lapsi.engines.removal.chord import settle
from lapsi.problem.removed import CLOSED_FORM, CONVERGED, Removed
from lapsi.training.newton import fit_map, invert, reduced_hessian

CLOSE = {"rtol": 1e-5, "atol": 1e-9}
CONVENTIONS = [("map", "mean"), ("map", "sum"), (1.0, "mean"), (0.3, "sum")]


def removed_of(params, rows, shift, refinement):
    unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    return Removed(rows[:, None], np.arange(len(rows)), params, shift, shift.new_zeros(0), refinement, unknown)


def settled(problem, fit, rows):
    optimum = DenseStep(problem, fit.params, invert(reduced_hessian(fit)))
    return removed_of(fit.params, rows, settle(optimum.removal(rows), 1e-10)[0], CONVERGED)


def first_order(problem, fit, structure, **options):
    hessian = reduced_hessian(fit)
    return first_order_curvature(problem, fit.params, structure, invert(hessian), **options)


@pytest.mark.parametrize(("prior", "removal"), CONVENTIONS)
@pytest.mark.parametrize(("structure", "form"), [("diag", EXACT), ("kfac", EXACT), ("full", EXACT), ("full", REMOVAL_FORM)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_both_parts_match_brute_force(make_problem, structure, form, prior, removal, n_classes):
    inputs, labels = oracles.make_data(25, 3, n_classes, seed=5)
    problem = make_problem(inputs, labels, n_classes, 0.05, prior, removal)
    fit = fit_map(problem)
    rows = torch.arange(0, 25, 4)
    made = settled_curvature(problem, fit.params, structure) if form == EXACT else first_order(problem, fit, structure)
    assert made.form == form
    terms = made.divergence(settled(problem, fit, rows))
    for row, index in enumerate(rows.tolist()):
        oracle = "removal" if form == REMOVAL_FORM else "exact"
        mean, bend = oracles.lsi(structure, inputs, labels, n_classes, 0.05, index, prior, removal, oracle)
        assert_close(terms.curvature[row].item(), bend, **CLOSE)
        assert_close(terms.mean[row].item(), mean, **CLOSE)


def test_the_removal_form_knows_its_exact_one_where_that_is_affordable(make_problem, blobs, monkeypatch):
    problem = make_problem(*blobs, 3)
    fit = fit_map(problem)
    held, removed = first_order(problem, fit, "full"), settled(problem, fit, torch.arange(3))
    expected = settled_curvature(problem, fit.params, "full").divergence(removed).total
    assert_close(held.exact(3).divergence(removed).total, expected)
    assert float((held.divergence(removed).total / expected - 1).abs().max()) > 1e-3
    monkeypatch.setattr("lapsi.curvature.full.EXACT_FLOP", 0)
    assert held.exact(3) is None


@pytest.mark.parametrize("structure", ["diag", "kfac"])
def test_first_order_change_is_the_derivative_of_the_exact_one(make_problem, structure):
    """Twice the shift must make four times the gap: the closed form leaves out second-order terms only."""
    inputs, labels = oracles.make_data(60, 3, 3, seed=6)
    problem = make_problem(inputs, labels, 3)
    fit = fit_map(problem)
    curvature, rows = first_order(problem, fit, structure), torch.arange(60)
    direction = torch.randn(60, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gaps = []
    for size in (1e-3, 2e-3):
        first, exact = (
            curvature.divergence(removed_of(fit.params, rows, size * direction, how)).curvature
            for how in (CLOSED_FORM, CONVERGED)
        )
        gaps.append((first - exact).abs().median().item())
    assert 3.5 < gaps[1] / gaps[0] < 4.5


@pytest.mark.parametrize("part_entries", [2**18, 20])
def test_a_pass_over_the_data_gives_the_first_order_change_of_kfac_too(make_problem, monkeypatch, part_entries):
    """Where the matrix of derivatives would be too large; in parts of a few units too."""
    inputs, labels = oracles.make_data(60, 3, 4, seed=6)
    problem = make_problem(inputs, labels, 4)
    fit = fit_map(problem)
    shift = 1e-2 * torch.randn(60, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    removed = removed_of(fit.params, torch.arange(60), shift, CLOSED_FORM)
    held = first_order(problem, fit, "kfac").divergence(removed)
    monkeypatch.setattr(kron, "PART_ENTRIES", part_entries)
    streamed = first_order(problem, fit, "kfac", streams=True)
    assert isinstance(streamed.slope, kron.StreamedHessianSlope)
    assert_close(streamed.divergence(removed).curvature, held.curvature, rtol=1e-12, atol=0)
    assert_close(streamed.divergence(removed).mean, held.mean, rtol=1e-12, atol=0)


def test_the_reference_of_the_removal_form_holds_nothing_in_float32(make_problem, blobs):
    problem = make_problem(*blobs, 3)
    fit = fit_map(problem)
    removed = settled(problem, fit, torch.arange(40))
    hessian = problem.hessian(fit.params, problem.objective.l2_without(40, 1.0))
    inverse = invert(hessian)
    wide, narrow = (
        first_order_curvature(problem, fit.params, "full", inverse.to(dtype)) for dtype in (torch.float64, torch.float32)
    )
    expected = wide.divergence(removed).total
    assert float((narrow.divergence(removed).total / expected - 1).abs().max()) > 1e-9
    assert_close(narrow.reference().divergence(removed).total, expected, rtol=1e-11, atol=0)
    assert wide.reference() is wide
