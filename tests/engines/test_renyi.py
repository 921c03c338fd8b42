"""Rényi divergences of whole engines against brute force: retrained optima and dense precisions."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_likelihood_cases import DECAY, KINDS, NOISE, ROWS, STRUCTURES, drawn, evaluated, parts

import lapsi
import oracles
from lapsi.engines.base import Plan
from lapsi.engines.groups.engine import groups_fit
from lapsi.engines.local.engine import local_fit
from lapsi.engines.newton.engine import newton_fit
from lapsi.errors import InputError
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.precision.divergence import Renyi
from lapsi.problem.linear import LinearProblem
from lapsi.settings.settings import make_settings
from lapsi.training.newton import fit_map

ORDERS = (0.5, 2.0, 10.0)
UNITS = torch.tensor(ROWS)[:, None]
REACHED = {"rtol": 1e-8, "atol": 0}


def glm_of(kind, weighted, prior="map", removal="mean"):
    inputs, targets, weights = drawn(4)
    return oracles.Glm(kind, inputs, targets[kind], weights if weighted else None, DECAY, prior, removal, NOISE)


def settings_of(structure, order, **others):
    return make_settings("newton", structure, divergence="renyi", order=order, dtype="float64", **others)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "weighted", "structure"), list(itertools.product(KINDS, (False, True), STRUCTURES)))
@pytest.mark.parametrize(("prior", "removal"), [("map", "mean"), (0.7, "mean"), ("map", "sum")])
def test_both_parts_equal_brute_force(kind, weighted, structure, prior, removal):
    glm = glm_of(kind, weighted, prior, removal)
    posteriors = [glm.posteriors(structure, row, KINDS[kind]) for row in ROWS]
    fit = groups_fit(fit_map(LinearProblem(**parts(glm))), settings_of(structure, 2.0))
    for order in ORDERS:
        (removed,) = fit.remove(UNITS, fit.parts(len(ROWS))[0], lambda _: None)
        terms = fit.curvature.by(Renyi(order)).divergence(removed)
        expected = np.array([oracles.renyi(*each, order) for each in posteriors])
        found = torch.stack([terms.mean, terms.curvature], 1)[np.argsort(removed.positions)]
        assert_allclose(found, expected, **REACHED)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_engine_newton_equals_brute_force(structure):
    glm = glm_of("softmax", True)
    plan = Plan(Cost(0, 1, {}), {"converges": False, "budget": 0.0, "settles": True, "streams": False})
    settings = settings_of(structure, 2.0, refine=16)
    fit = newton_fit(LinearProblem(**parts(glm)), settings, plan, Stages(show=False))
    expected = [oracles.renyi(*glm.posteriors(structure, row, 3), 2.0) for row in ROWS]
    assert_allclose(evaluated(fit, UNITS), expected, rtol=1e-7)


@pytest.mark.parametrize("structure", ["diag", "kfac"])
def test_engine_local_equals_brute_force(structure):
    glm = glm_of("softmax", False)
    plan = Plan(Cost(0, 1, {}), {"coupled": 3, "converges": True})
    settings = make_settings("local", structure, divergence="renyi", order=2.0)
    fit = local_fit(LinearProblem(**parts(glm)), settings, plan, Stages(False))
    expected = [oracles.renyi(*glm.posteriors(structure, row, 3), 2.0) for row in ROWS]
    assert_allclose(evaluated(fit, UNITS), expected, rtol=2e-5)


@pytest.fixture(scope="module")
def data():
    inputs, targets, _ = drawn(4)
    return inputs[:, :-1], targets["softmax"]


@pytest.mark.parametrize("prior", ["map", 0.7])
def test_full_in_its_removal_form_holds_the_others(data, prior):
    """The plain formula, of the precision at the optimum of all samples with and without the sample's own part."""
    given = {"weight_decay": 0.05, "standardize": "none", "prior_precision": prior, "progress": False, "verify": 0}
    X, y = data
    found = lapsi.score(X, y, curvature="full", refine=0, divergence="renyi", order=4, **given).table
    inputs = np.c_[X, np.ones(len(X))]
    whole = oracles.train(inputs, y, 3, 0.05)
    before, after = ((len(y) - gone) * 0.05 if prior == "map" else prior for gone in (0, 1))
    for row in ROWS:
        left = np.arange(len(y)) != row
        matrices = [oracles.precision("full", whole, part, 3, at) for part, at in ((inputs, before), (inputs[left], after))]
        _, curvature = oracles.renyi(np.zeros(whole.size), *matrices, 4.0)
        assert_allclose(found["lsi_curvature"][row], curvature, rtol=1e-7)


@pytest.mark.parametrize("curvature", STRUCTURES)
def test_of_order_1_scores_are_those_of_kl(data, curvature):
    given = {"curvature": curvature, "weight_decay": 0.05, "progress": False, "verify": 2}
    kl, one = lapsi.score(*data, **given), lapsi.score(*data, divergence="renyi", order=1, **given)
    near = lapsi.score(*data, divergence="renyi", order=1 + 1e-10, **given)
    for name in ("lsi", "lsi_mean", "lsi_curvature"):
        assert_allclose(one.table[name], kl.table[name], rtol=0)
        assert_allclose(near.table[name], kl.table[name], rtol=1e-8)


def test_the_run_says_which_divergence_it_tells(data, tmp_path):
    scores = lapsi.score(*data, weight_decay=0.05, divergence="renyi", order=8, progress=False)
    scores.save(tmp_path / "run")
    scores = lapsi.load_run(tmp_path / "run")
    column = next(column for column in scores.columns if column.name == "lsi")
    assert "Rényi divergence of order 8" in column.help
    assert (scores.provenance.settings["divergence"], scores.provenance.settings["order"]) == ("renyi", 8.0)
    assert scores.provenance.verification["max_relative_error"] < 1e-3


def test_scores_may_be_infinite(data):
    """Retrained from weights that the data change a lot, a posterior that gets narrower has none of a high order."""
    scores = lapsi.score(
        *data, recipe=lapsi.Recipe(epochs=5, seeds=1), prior_precision=0.01, divergence="renyi", order=300, progress=False
    )
    n = scores.n_infinite
    assert 0 < n < len(scores)
    assert scores.infinite_in_words.startswith(f"Infinite: LSI of {n} of {len(scores)} samples")
    infinite = np.isinf(scores.lsi)
    assert np.isinf(scores.table["lsi_mean"][infinite]).all()
    assert (scores.table["rank"][infinite] <= n).all()
    assert scores.provenance.verification["failure"] == ""


def test_groups_of_kfac_have_kl_alone(data):
    groups = np.arange(len(data[0])) % 5
    found = lapsi.leave_group_out(*data, groups, divergence="renyi", order=2.0, weight_decay=0.05, progress=False)
    assert (found["lsi"] > lapsi.leave_group_out(*data, groups, weight_decay=0.05, progress=False)["lsi"][found.index]).all()
    with pytest.raises(InputError, match="groups leave curvature 'kfac' by KL alone"):
        lapsi.leave_group_out(*data, groups, curvature="kfac", divergence="renyi", order=2.0, progress=False)
