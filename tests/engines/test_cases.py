"""One table: every structure, engine, removal convention and prior against brute force, both parts of LSI."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lapsi
import oracles

N, DECAY, ROWS = 24, 0.05, [0, 7, 23]
PLAIN = {"standardize": "each", "progress": False}
STRUCTURES, PRIORS, REMOVALS = ("diag", "kfac", "full"), ("map", 0.7), ("mean", "sum")
TRAINED = lapsi.Recipe(learning_rate=0.4, epochs=600, seeds=1)
# what each engine reaches: converged to 1e-5 of the shift, chord steps and groups to rounding, the recipe to its own end
ENGINES = {
    "converged": ({}, {"rtol": 2e-5, "atol": 1e-12}),
    "chord steps": ({"refine": 16}, {"rtol": 1e-7, "atol": 1e-12}),
    "retrained": ({"recipe": TRAINED}, {"rtol": 1e-6, "atol": 1e-12}),
    "groups": (None, {"rtol": 1e-8, "atol": 1e-12}),
}


@pytest.fixture(scope="module")
def data():
    inputs, labels = oracles.make_data(N, 3, 3, seed=21)
    features = (inputs[:, :-1] - inputs[:, :-1].mean(0)) / inputs[:, :-1].std(0)
    return np.c_[features, np.ones(N)], labels


@pytest.fixture(scope="module")
def expected(data):
    cases = itertools.product(STRUCTURES, PRIORS, REMOVALS)
    return {case: np.array([oracles.lsi(case[0], *data, 3, DECAY, row, *case[1:]) for row in ROWS]) for case in cases}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.slow) if name == "retrained" else name for name in ENGINES]
)
def test_both_parts_equal_brute_force(data, expected, engine, structure, prior, removal):
    inputs, labels = data
    choices, tolerance = ENGINES[engine]
    options = {"curvature": structure, "prior_precision": prior, "removal": removal, "weight_decay": DECAY, **PLAIN}
    if engine == "groups":
        groups = np.full(N, None, dtype=object)
        groups[ROWS] = ROWS
        table = lapsi.leave_group_out(inputs[:, :-1], labels, groups, **options).loc[ROWS]
    else:
        options |= {"dtype": "float64", "verify": 0, "indices": ROWS}
        table = lapsi.score(inputs[:, :-1], labels, **choices, **options).table
    assert_allclose(table[["lsi_mean", "lsi_curvature"]], expected[structure, prior, removal], **tolerance)
