"""One table: every likelihood, weighted or not, structure, engine, removal convention and prior against brute force."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import oracles
from lapsi.curvature.base import EXACT
from lapsi.engines.base import Plan
from lapsi.engines.evaluate import evaluate, verify
from lapsi.engines.groups import plan as plan_module
from lapsi.engines.groups.engine import groups_fit
from lapsi.engines.newton.engine import newton_fit
from lapsi.engines.retrain.engine import RetrainEngine
from lapsi.execution.checkpoint import open_checkpoint
from lapsi.execution.cost import Cost
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.models.activation import ACTIVATIONS
from lapsi.models.likelihoods.bernoulli import bernoulli
from lapsi.models.likelihoods.gaussian import gaussian
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.mlp import Mlp
from lapsi.precision.kron_joint import JointComparison
from lapsi.problem.linear import LinearProblem
from lapsi.problem.network import NetworkProblem
from lapsi.problem.objective import Objective
from lapsi.results.verification import draw_rows
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.newton import fit_map

N, D, DECAY, ROWS = 30, 4, 0.05, [0, 11, 29]
RAGGED = [[0], [11, 29], [3, 4, 5], [1, 2, 12, 13, 14], [15, 16, 17, 18, 19, 20], [7, 8, 9, 10]]
NOISE = np.array([0.5, 2.0])
KINDS = {"softmax": 3, "bernoulli": 2, "gaussian": 2}
STRUCTURES, PRIORS, REMOVALS = ("diag", "kfac", "full"), ("map", 0.7), ("mean", "sum")
CPU = torch.device("cpu")
# chord steps and groups reach rounding, convergence 1e-5 of the shift, the recipe its own end
REACHED = {
    "converged": {"rtol": 2e-5, "atol": 1e-12},
    "chord steps": {"rtol": 1e-7, "atol": 1e-12},
    "groups": {"rtol": 1e-8, "atol": 1e-12},
    "retrained": {"rtol": 1e-6, "atol": 1e-12},
}


def drawn(n_features):
    rng = np.random.default_rng(3)
    inputs = np.c_[rng.normal(size=(N, n_features - 1)), np.ones(N)]
    outputs = inputs @ rng.normal(size=(n_features, 2))
    numbers = outputs + rng.normal(size=(N, 2)) * np.sqrt(NOISE)
    targets = {"softmax": np.arange(N) % 3, "bernoulli": (numbers > 0).astype(float), "gaussian": numbers}
    return inputs, targets, rng.uniform(0.2, 3.0, N)


@pytest.fixture(scope="module")
def data():
    return drawn(D)


@pytest.fixture(scope="module")
def wide():
    return drawn(3 * D)


@pytest.fixture(scope="module")
def oracle(data):
    inputs, targets, weights = data

    def build(kind, weighted, prior="map", removal="mean"):
        return oracles.Glm(kind, inputs, targets[kind], weights if weighted else None, DECAY, prior, removal, NOISE)

    return build


def parts(oracle):
    likelihood = {
        "softmax": lambda: softmax(3, CPU),
        "bernoulli": lambda: bernoulli(2, CPU),
        "gaussian": lambda: gaussian(torch.from_numpy(NOISE)),
    }[oracle.kind]()
    weights = None if (oracle.weights == 1).all() else torch.from_numpy(oracle.weights)
    return {
        "inputs": torch.from_numpy(oracle.inputs),
        "targets": torch.from_numpy(oracle.targets),
        "likelihood": likelihood,
        "objective": Objective(oracle.decay, oracle.prior_precision, oracle.removal),
        "weights": weights,
    }


def fit_of(oracle, engine, structure):
    if engine == "groups":
        return groups_fit(fit_map(LinearProblem(**parts(oracle))), Settings(curvature=structure))
    if engine == "retrained":
        recipe = Recipe(learning_rate=0.4, epochs=600, seeds=1)
        settings = make_settings(curvature=structure, recipe=recipe, dtype="float64", weight_decay=DECAY)
        model = Mlp((D, KINDS[oracle.kind]), ACTIVATIONS["relu"])
        return RetrainEngine(settings).fit_problem(NetworkProblem(model=model, **parts(oracle)), N)
    refine = "auto" if engine == "converged" else 16
    settings = make_settings("newton", curvature=structure, refine=refine, dtype="float64")
    plan = Plan(
        Cost(0, 1, {}), {"n_refined": N, "converges": engine == "converged", "budget": 0.0, "settles": True, "streams": False}
    )
    return newton_fit(LinearProblem(**parts(oracle)), settings, plan, Stages(show=False))


def evaluated(fit, units):
    (found,) = evaluate(fit, units, observation(fit), open_checkpoint(None, {}, {}), lambda _: None)
    return np.stack([found["lsi_mean"][-1], found["lsi_curvature"][-1]], 1)


CASES = list(itertools.product(KINDS, (False, True), STRUCTURES, PRIORS, REMOVALS))


@pytest.mark.parametrize("engine", ["converged", "chord steps", "groups"])
@pytest.mark.parametrize(("kind", "weighted", "structure", "prior", "removal"), CASES)
def test_both_parts_equal_brute_force(oracle, engine, kind, weighted, structure, prior, removal):
    glm = oracle(kind, weighted, prior, removal)
    expected = [glm.lsi(structure, row, KINDS[kind]) for row in ROWS]
    assert_allclose(evaluated(fit_of(glm, engine, structure), torch.tensor(ROWS)[:, None]), expected, **REACHED[engine])


@pytest.mark.parametrize(("kind", "weighted", "structure", "prior", "removal"), CASES)
def test_groups_of_all_sizes_equal_brute_force(oracle, monkeypatch, kind, weighted, structure, prior, removal):
    """By a low-rank update and by a factorisation of their own."""
    glm = oracle(kind, weighted, prior, removal)
    fit, units = fit_of(glm, "groups", structure), [torch.tensor(rows) for rows in RAGGED]
    expected = [glm.lsi(structure, rows, KINDS[kind]) for rows in RAGGED]
    for by_update in (True, False):
        monkeypatch.setattr(plan_module, "goes_by_update", lambda work, size, taken=by_update: taken)
        assert_allclose(evaluated(fit, units), expected, **REACHED["groups"])


@pytest.mark.parametrize(("kind", "weighted", "structure", "prior", "removal"), [case for case in CASES if case[2] == "kfac"])
def test_small_groups_of_wide_inputs_equal_brute_force(wide, kind, weighted, structure, prior, removal):
    """Where kfac takes no eigenvalues of what is left of the inputs."""
    inputs, targets, weights = wide
    glm = oracles.Glm(kind, inputs, targets[kind], weights if weighted else None, DECAY, prior, removal, NOISE)
    groups = [[4, 8, 21], [2], [0, 13], [5, 6, 7]]
    expected = [glm.lsi(structure, rows, KINDS[kind]) for rows in groups]
    found = evaluated(fit_of(glm, "groups", structure), [torch.tensor(rows) for rows in groups])
    assert_allclose(found, expected, **REACHED["groups"])


def test_groups_that_leave_no_digits_go_by_what_is_left(wide, monkeypatch):
    inputs, targets, weights = wide
    glm = oracles.Glm("softmax", inputs, targets["softmax"], weights, DECAY)
    fit, units = fit_of(glm, "groups", "kfac"), [torch.tensor([4, 8]), torch.tensor([2, 9, 11])]
    expected, real = evaluated(fit, units), JointComparison.excess

    def first_is_none(self):
        found = real(self)
        found[0] = torch.nan
        return found

    monkeypatch.setattr(JointComparison, "excess", first_is_none)
    assert_allclose(evaluated(fit, units), expected, rtol=1e-10)


RETRAINED = [case for case in CASES if case[0] != "gaussian"][::3]  # every likelihood × weights × structure, prior × removal


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "weighted", "structure", "prior", "removal"), RETRAINED)
def test_retraining_equals_brute_force(oracle, kind, weighted, structure, prior, removal):
    glm = oracle(kind, weighted, prior, removal)
    expected = [glm.lsi(structure, row, KINDS[kind]) for row in ROWS]
    fit = fit_of(glm, "retrained", structure)
    assert_allclose(evaluated(fit, torch.tensor(ROWS)[:, None]), expected, **REACHED["retrained"])
    if structure == "diag" and prior == "map":
        checked = verify(
            fit,
            torch.tensor(ROWS)[:, None],
            np.sum(expected, 1),
            draw_rows(np.sum(expected, 1), np.full(3, np.nan), 3, seed=0),
            lambda _: None,
        )
        assert checked.max_relative_error < 1e-6


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_the_sample_twice(oracle, kind, structure):
    """And the two leave together."""
    glm = oracle(kind, False)
    twice = oracle(kind, False)
    glm.weights = glm.weights.copy()
    glm.weights[7] = 2.0
    for name in ("inputs", "targets", "weights"):
        values = getattr(twice, name)
        setattr(twice, name, np.concatenate([values, values[7:8]]))
    once = evaluated(fit_of(glm, "groups", structure), torch.tensor([[7]]))
    both = evaluated(fit_of(twice, "groups", structure), torch.tensor([[7, N]]))
    assert_allclose(once, both, rtol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_closed_form_of_numbers_is_exact(oracle, structure, weighted):
    """Their Hessian moves with nothing; with weights the share of the weight decay remains, of order 1/N."""
    glm = oracle("gaussian", weighted, removal="sum" if weighted else "mean")
    settings = make_settings(curvature=structure, refine=0, dtype="float64")
    plan = Plan(Cost(0, 1, {}), {"n_refined": 0, "converges": False, "budget": 0.0, "settles": False, "streams": False})
    fit = newton_fit(LinearProblem(**parts(glm)), settings, plan, Stages(show=False))
    expected = [glm.lsi(structure, row, 2) for row in ROWS]
    assert fit.curvature.form == EXACT or structure == "full"
    assert_allclose(evaluated(fit, torch.tensor(ROWS)[:, None]), expected, rtol=1e-9)


def test_the_removal_form_drops_each_weight_of_its_own(data):
    """Λ′ is what is left when a sample of mean weight leaves, so what a row's own weight differs by remains, of order 1/N."""
    rng = np.random.default_rng(8)
    inputs = np.c_[0.05 * rng.normal(size=(300, D - 1)), np.ones(300)]
    targets, weights = rng.normal(size=(300, 2)), rng.uniform(0.2, 3.0, 300)
    glm = oracles.Glm("gaussian", inputs, targets, weights, 0.5, noise=NOISE)
    settings = make_settings(curvature="full", refine=0, dtype="float64")
    plan = Plan(Cost(0, 1, {}), {"n_refined": 0, "converges": False, "budget": 0.0, "settles": False, "streams": False})
    fit = newton_fit(LinearProblem(**parts(glm)), settings, plan, Stages(show=False))
    rows = [int(weights.argmin()), int(weights.argmax())]
    expected = [glm.lsi("full", row, 2) for row in rows]
    assert_allclose(evaluated(fit, torch.tensor(rows)[:, None]), expected, rtol=2e-2)


def test_full_and_kfac_of_numbers_are_one(oracle):
    glm = oracle("gaussian", True)
    units = torch.tensor(ROWS)[:, None]
    full, kfac = (evaluated(fit_of(glm, "chord steps", structure), units) for structure in ("full", "kfac"))
    assert_allclose(full, kfac, rtol=1e-9)
