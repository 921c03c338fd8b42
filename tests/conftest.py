import numpy as np
import pytest
import torch
from hypothesis import settings

import oracles
from lapsi.models.likelihoods.softmax import softmax
from lapsi.problem.linear import LinearProblem
from lapsi.problem.objective import Objective
from lapsi.training.newton import fit_map, invert, reduced_hessian

settings.register_profile("untimed", deadline=None)  # a crowded machine is no error
settings.load_profile("untimed")


@pytest.fixture
def make_problem():
    """Builds a problem from inputs (N, D) that end in the constant 1."""

    def build(inputs, labels, n_classes, weight_decay=0.05, prior_precision="map", removal="mean"):
        objective, likelihood = Objective(weight_decay, prior_precision, removal), softmax(n_classes, torch.device("cpu"))
        return LinearProblem(torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(labels), likelihood, objective)

    return build


@pytest.fixture(scope="session")
def blobs():
    """40 samples, 3 features and the constant, 3 classes."""
    return oracles.make_data(40, 3, 3, seed=1)


@pytest.fixture
def fitted(make_problem, blobs):
    """Problem, fit and inverse Hessian of the blobs."""
    problem = make_problem(*blobs, 3)
    fit = fit_map(problem)
    return problem, fit, invert(reduced_hessian(fit))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a small text and a small image model, to be read alone."""
    from tiny_models import save_bert, save_vision  # transformers takes long to import

    folder = tmp_path_factory.mktemp("models")
    return {"text": save_bert(folder / "bert"), "image": save_vision("resnet", folder / "resnet")}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A test that works in its own folder, and keeps its features there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))
