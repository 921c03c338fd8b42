"""The nearest samples against all distances one by one."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import lapsi
from lapsi.analysis import neighbours
from lapsi.analysis.neighbours import nearest
from lapsi.report.columns import embed_columns
from runs_for_reports import make_scores

QUIET = {"verify": 0, "refine": 0, "progress": False}


def one_by_one(inputs, count=5):
    found = []
    for row, own in enumerate(inputs):
        others = [other for other in range(len(inputs)) if other != row]
        found.append(sorted(others, key=lambda other, own=own: np.linalg.norm(own - inputs[other]))[:count])
    return np.array(found)


@pytest.mark.parametrize("block", [1, 100, 2**20])
def test_nearest_are_those_of_the_least_distance(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", block)
    inputs = np.random.default_rng(0).normal(size=(60, 4))
    assert_array_equal(nearest(inputs, np.arange(60)), one_by_one(inputs))


def test_few_samples_have_fewer_and_the_last_none_where_there_is_no_time():
    inputs = np.array([[0.0], [1.0], [3.0]])
    assert_array_equal(nearest(inputs, np.arange(3)), [[1, 2, -1, -1, -1], [0, 2, -1, -1, -1], [1, 0, -1, -1, -1]])
    assert_array_equal(nearest(inputs, np.array([2, 0, 1]), most=3)[:, 0], [-1, -1, 1])


def test_a_run_keeps_the_neighbours_of_its_scaled_features(tmp_path):
    generator = np.random.default_rng(1)
    X = generator.normal(size=(50, 3)) * [1, 100, 0.01]
    scores = lapsi.score(X, X[:, 0] > 0, standardize="each", indices=np.arange(10, 50), **QUIET)
    expected = one_by_one((X / X.std(0))[10:]) + 10
    assert_array_equal(scores.neighbours, expected)
    scores.save(tmp_path / "run")
    loaded = lapsi.load_run(tmp_path / "run")
    assert_array_equal(loaded.neighbours, expected)
    some = loaded.from_pandas(loaded.to_pandas().iloc[[7, 3]])
    assert_array_equal(some.neighbours, expected[[7, 3]])
    np.save(tmp_path / "run" / "neighbours.npy", expected.astype(float))
    with pytest.raises(lapsi.InputError, match=r"neighbours.npy is not the file"):
        lapsi.load_run(tmp_path / "run")


def test_the_page_names_neighbours_by_their_place_on_it():
    near = np.arange(20)[:, None] + np.arange(1, 6)
    scores = replace(make_scores(20), neighbours=np.where(near < 20, near, -1).astype(np.int32))
    packed = embed_columns(scores, np.array([0, 2, 5]), None, 0)["near"]
    places = np.frombuffer(base64.b64decode(packed["data"]), packed["type"]).reshape(3, 5)
    nowhere = 2**32 - 1
    assert_array_equal(places[0], [nowhere, 1, nowhere, nowhere, 2])
    assert_array_equal(places[1], [nowhere, nowhere, 2, nowhere, nowhere])
    assert (places[2] == nowhere).all()
