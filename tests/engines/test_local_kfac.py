"""Engine local with kfac: with all outputs it is what newton gives for the same shifts; converged samples as by brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from torch.testing import assert_close

import lapsi
import oracles
from lapsi.curvature.blocks import Cuts
from lapsi.curvature.kron import dense_hessian_slope
from lapsi.curvature.linear import first_order_curvature
from lapsi.engines.base import Plan, Work
from lapsi.engines.local import engine, plan
from lapsi.engines.local.engine import local_fit
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.problem.removed import CLOSED_FORM, Removed
from lapsi.settings.engine import Local
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map, invert, reduced_hessian

CLASSES, FEATURES, SAMPLES = 6, 4, 60
NOTHING = Cuts(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-4, CLASSES, CLASSES)
SLOPE = {"rtol": 1e-5, "atol": 1e-6}  # of float32 columns
QUIET = {"weight_decay": 0.01, "standardize": "each", "progress": False, "verify": 0}


@pytest.fixture
def data():
    return oracles.make_data(SAMPLES, FEATURES, CLASSES, seed=5)


@pytest.fixture
def problem(make_problem, data):
    return make_problem(*data, CLASSES, 0.02)


def kfac_fit(problem, coupled):
    plan = Plan(Cost(0, 0, {}), {"coupled": coupled, "converges": True})
    return local_fit(problem, Settings(engine=Local(), curvature="kfac"), plan, Stages(False))


@pytest.fixture
def whole(problem, monkeypatch):
    """All outputs coupled and nothing left out."""
    monkeypatch.setattr(engine, "DENSE", NOTHING)
    return kfac_fit(problem, CLASSES)


@pytest.fixture
def shifts():
    return 1e-2 * torch.randn(SAMPLES, CLASSES, FEATURES + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def removed_of(problem, fit, rows, shift, refinement):
    unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    return Removed(rows[:, None], np.arange(len(rows)), fit.params, shift, shift.new_zeros(0), refinement, unknown)


def test_the_slope_is_the_whole_derivative(problem, whole, shifts):
    fit, basis = fit_map(problem), problem.likelihood.basis
    seen = torch.einsum("cm,nck->nmk", basis, shifts)
    expected = dense_hessian_slope(problem, fit.params).change(seen)
    found = whole.curvature.curvature.slope.change(seen.float())
    assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert_close(found, found.mT, rtol=0, atol=0)


def test_few_outputs_have_the_derivative_among_the_nearest_of_each(problem, whole, shifts):
    few = kfac_fit(problem, 3).curvature.curvature.slope.rough
    few = replace(few, nearest=few.nearest[:, :2], blocks=whole_blocks(whole, few.nearest[:, :2]))
    found = replace(few, left_out=0.0).change(torch.einsum("cm,nck->nmk", few.basis, shifts).float())
    params = whole.step.params
    p = torch.softmax(problem.inputs @ params.T, 1)
    moved = torch.einsum("nck,jk->ncj", shifts - shifts.mean(1, keepdim=True), problem.inputs)
    expected = torch.zeros(SAMPLES, CLASSES, CLASSES, dtype=torch.float64)
    for output, near in enumerate(few.nearest.tolist()):
        for a in near:
            for b in near:
                third = third_derivative(p, a, b, output)
                expected[:, a, b] += torch.einsum("j,nj->n", third, moved[:, output])
    assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def third_derivative(p, a, b, c):
    """∂S_ab/∂z_c (N,) of the softmax, term by term: the third cumulant."""
    pa, pb, pc = p[:, a], p[:, b], p[:, c]
    ab, bc, ac = float(a == b), float(b == c), float(a == c)
    return ab * bc * pa - ab * pa * pc - ac * pa * pb - bc * pa * pb + 2 * pa * pb * pc


def whole_blocks(whole, nearest):
    """The blocks of fewer outputs, out of those of all."""
    slope = whole.curvature.curvature.slope.rough
    first, second = torch.triu_indices(CLASSES, CLASSES)
    found = []
    for output, near in enumerate(nearest.tolist()):
        places = {
            pair: place
            for place, pair in enumerate(
                zip(slope.nearest[output, first].tolist(), slope.nearest[output, second].tolist(), strict=True)
            )
        }
        pairs = [(near[a], near[b]) for a, b in torch.triu_indices(len(near), len(near)).T.tolist()]
        found.append(torch.stack([slope.blocks[output, places.get((a, b), places.get((b, a)))] for a, b in pairs]))
    return torch.stack(found)


def test_the_divergence_is_that_of_newton_for_the_same_shifts(problem, whole, shifts):
    fit, rows, basis = fit_map(problem), torch.arange(SAMPLES), problem.likelihood.basis
    newton = first_order_curvature(problem, fit.params, "kfac", invert(reduced_hessian(fit)))
    expected = newton.divergence(removed_of(problem, fit, rows, torch.einsum("cm,nck->nmk", basis, shifts), CLOSED_FORM))
    found = whole.curvature.divergence(removed_of(problem, whole.step, rows, shifts.float(), CLOSED_FORM))
    assert_close(found.mean, expected.mean, **SLOPE)
    assert_close(found.curvature, expected.curvature, **SLOPE)


@pytest.mark.parametrize(("prior", "removal"), [("map", "mean"), (0.3, "sum")])
def test_converged_samples_match_brute_force(make_problem, data, prior, removal):
    problem = make_problem(*data, CLASSES, 0.02, prior, removal)
    local, rows = kfac_fit(problem, 2), torch.tensor([3, 21, 59])
    (found,) = local.reference(rows[:, None])
    terms = local.curvature.reference().divergence(found)
    for place, row in enumerate(rows.tolist()):
        mean, curvature = oracles.lsi("kfac", *data, CLASSES, 0.02, row, prior, removal, "exact")
        assert_close(terms.mean[place].item(), mean, rtol=1e-6, atol=1e-10)
        assert_close(terms.curvature[place].item(), curvature, rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_many_classes_are_ranked_as_by_newton(many, nothing_is_small):
    exact = lapsi.score(*many, curvature="kfac", tolerance=1e-8, **QUIET)
    found = lapsi.score(*many, curvature="kfac", engine="local", converge=20, tolerance=1e-4, **QUIET)
    assert found.provenance.engine == "local"
    errors = abs(found.lsi / exact.lsi - 1)
    assert spearmanr(found.lsi, exact.lsi)[0] > 0.995
    assert np.median(errors) < 0.08
    assert errors[(found.table["refinement"] == "converged").to_numpy()].max() < 1e-4


def test_the_plan_counts_the_divergence_and_warns_where_it_takes_the_time():
    def planned(curvature, n_outputs):
        settings = make_settings("local", curvature, weight_decay=0.01, standardize="each", memory_limit=2**40)
        return plan.plan_local(Work(50_000, 257, n_outputs, n_outputs - 1, 50_000), settings)

    assert plan.DIVERGENCE not in planned("diag", 100).cost.flop
    assert 2e8 * 50_000 / 3 < planned("kfac", 100).cost.flop[plan.DIVERGENCE] < 2e8 * 50_000
    assert "1,000 × 1,000 matrices for each sample" in dict(planned("kfac", 1000).notes)["curvature"]
    assert "curvature" not in dict(planned("diag", 1000).notes)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_targets_are_left_out_as_by_newton(many, task):
    """Where outputs do not meet in S nothing is lost but what is cut."""
    X, y = many
    rng = np.random.default_rng(0)
    targets = (y[:, None] >> np.arange(4)) & 1 if task == "multilabel" else X[:, :3] + rng.normal(size=(len(X), 3))
    options = {"task": task, "curvature": "kfac", "sample_weight": np.linspace(0.5, 2.0, len(y)), **QUIET}
    expected = lapsi.score(X, targets, indices=range(0, 600, 30), **options)
    found = lapsi.score(X, targets, engine="local", indices=range(0, 600, 30), **options)
    assert_allclose(found.lsi, expected.lsi, rtol=2e-5)  # as far as small data are converged


def test_weights_of_the_other_targets_enter_the_slope(many, nothing_is_small):
    X, y = many
    bits, weights = (y[:, None] >> np.arange(4)) & 1, np.linspace(0.5, 2.0, len(y))
    options = {"task": "multilabel", "curvature": "kfac", "sample_weight": weights, **QUIET}
    expected = lapsi.score(X, bits, refine=0, **options)
    found = lapsi.score(X, bits, engine="local", coupled=4, **options)
    assert np.median(abs(found.lsi / expected.lsi - 1)) < 1e-3
