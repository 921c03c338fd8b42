"""Each structure at the converged leave-one-out optimum, against retraining and dense matrices."""

import pytest
import torch
from torch.testing import assert_close

import oracles
from lapsi.curvature.diag import diag_curvature
from lapsi.curvature.full import full_curvature
from lapsi.curvature.kron import kron_curvature
from lapsi.engines.newton.steps import NewtonEngine
from lapsi.training.newton import fit_map, invert, reduced_hessian

EXACT = {"rtol": 1e-5, "atol": 1e-9}
CONVENTIONS = [("map", "mean"), ("map", "sum"), (1.0, "mean"), (0.3, "sum")]


def build(structure, problem, fit, inverse):
    if structure == "diag":
        return diag_curvature(problem, fit.params, torch.float64)
    if structure == "kfac":
        return kron_curvature(problem, fit.params)
    return full_curvature(problem, fit.params, reduced_hessian(problem, fit), inverse)


@pytest.mark.parametrize(("prior", "removal"), CONVENTIONS)
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_both_parts_match_brute_force(make_problem, structure, prior, removal, n_classes):
    inputs, labels = oracles.make_data(25, 3, n_classes, seed=5)
    problem = make_problem(inputs, labels, n_classes, 0.05, prior, removal)
    fit = fit_map(problem)
    inverse = invert(reduced_hessian(problem, fit))
    indices = torch.arange(0, 25, 4)
    shift = NewtonEngine(problem, fit.params, inverse, 0).converge(indices)
    curvature = build(structure, problem, fit, inverse)
    terms = curvature.kl_terms_exact(indices, shift)
    form = "removal" if structure == "full" else "exact"
    for row, index in enumerate(indices.tolist()):
        mean, bend = oracles.lsi(structure, inputs, labels, n_classes, 0.05, index, prior, removal, form)
        assert_close(terms.curvature[row].item(), bend, **EXACT)
        assert_close(terms.mean[row].item(), mean, **EXACT)


@pytest.mark.parametrize(("prior", "removal"), CONVENTIONS)
def test_dense_full_matches_brute_force(make_problem, prior, removal):
    inputs, labels = oracles.make_data(25, 3, 3, seed=5)
    problem = make_problem(inputs, labels, 3, 0.05, prior, removal)
    fit = fit_map(problem)
    inverse = invert(reduced_hessian(problem, fit))
    indices = torch.tensor([0, 11])
    shift = NewtonEngine(problem, fit.params, inverse, 0).converge(indices)
    terms = full_curvature(problem, fit.params, reduced_hessian(problem, fit), inverse).kl_terms_dense(indices, shift)
    for row, index in enumerate(indices.tolist()):
        expected = oracles.lsi("full", inputs, labels, 3, 0.05, index, prior, removal)
        assert_close((terms.mean[row].item(), terms.curvature[row].item()), expected, **EXACT)


@pytest.mark.parametrize("structure", ["diag", "kfac"])
def test_first_order_change_is_the_derivative_of_the_exact_one(make_problem, structure):
    """Twice the shift must make four times the gap: the closed form leaves out second-order terms only."""
    inputs, labels = oracles.make_data(60, 3, 3, seed=6)
    problem = make_problem(inputs, labels, 3)
    fit = fit_map(problem)
    inverse = invert(reduced_hessian(problem, fit))
    curvature = build(structure, problem, fit, inverse)
    indices = torch.arange(60)
    direction = torch.randn(60, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gaps = []
    for size in (1e-3, 2e-3):
        first = curvature.kl_terms(indices, size * direction).curvature
        gaps.append((first - curvature.kl_terms_exact(indices, size * direction).curvature).abs().median().item())
    assert 3.5 < gaps[1] / gaps[0] < 4.5
